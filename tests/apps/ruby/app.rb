# A bookshop on ActiveRecord and its migrations. `app.rb FILE KEYS COMMAND …`, see ../README.md.

require "active_record"
require "json"
require "securerandom"

FILE, KEYS, COMMAND, *WORDS = ARGV

ActiveRecord::Base.establish_connection(adapter: "sqlite3", database: FILE, timeout: 20_000)
ActiveRecord::Migration.verbose = false

# The recipe, where ActiveRecord is older than 8.0: every transaction has the right to write from its first statement on. Later ones
# do so by themselves.
if ActiveRecord.version < Gem::Version.new("8.0")
  ActiveRecord::ConnectionAdapters::SQLite3Adapter.prepend(Module.new do
    def begin_db_transaction
      log("begin immediate transaction", "TRANSACTION") { @connection.transaction(:immediate) }
    end
  end)
end

# The key of each table: a UUID as the recipe says, or the number that Rails hands out by default.
def key_options
  KEYS == "uuid" ? { id: :string } : {}
end

def reference_type
  KEYS == "uuid" ? :string : :integer
end

class ApplicationRecord < ActiveRecord::Base
  self.abstract_class = true
  before_create { self.id ||= SecureRandom.uuid if KEYS == "uuid" }
end

CONNECTION = ActiveRecord::Base.connection

class Author < ApplicationRecord; end

class Book < ApplicationRecord
  self.table_name = CONNECTION.table_exists?("works") ? "works" : "books"
end

class Shelf < ApplicationRecord
  self.table_name = "shelf"
end

KINDS = { "author" => Author, "book" => Book, "shelf" => Shelf }.freeze

MIGRATIONS = ActiveRecord::MigrationContext.new(File.join(__dir__, "migrate"), CONNECTION.schema_migration)

def applied
  CONNECTION.table_exists?("schema_migrations") ? MIGRATIONS.get_all_versions : []
end

def migrate(number)
  before = applied
  MIGRATIONS.migrate(number.to_i)
  (applied - before).map(&:to_s)
end

# On a clone: says that the migrations which made the tables that came along are done.
def fake(number)
  CONNECTION.schema_migration.create_table
  ActiveRecord::InternalMetadata.create_table
  CONNECTION.assume_migrated_upto_version(number.to_i)
  (1..number.to_i).each { |version| CONNECTION.schema_migration.find_or_create_by!(version: version.to_s) }
  nil
end

def title
  Book.column_names.include?("name") ? "name" : "title"
end

def find(kind, name)
  column = { "author" => "name", "shelf" => "label", "book" => title }[kind]
  KINDS[kind].find_by!(column => name)
end

def columns(values)
  values.to_h do |name, value|
    case name
    when "author", "shelf" then ["#{name}_id", find(name, value).id]
    when "title" then [title, value]
    else [name, value]
    end
  end
end

# Transactions that read before they write, as fast as they go. Returns how many failed.
def busy(name, count)
  count.times.count do
    ActiveRecord::Base.transaction do
      author = Author.find_by!(name: name)
      author.update!(seen: author.seen + (Book.count.positive? ? 1 : 0))
    end
    false
  rescue ActiveRecord::StatementInvalid => error
    warn error.message
    true
  end
end

def operations(list)
  ActiveRecord::Base.transaction do
    list.each do |operation, kind, *rest|
      case operation
      when "add" then KINDS[kind].create!(columns(rest[0]).merge(rest[1] ? { id: rest[1] } : {}))
      when "edit" then find(kind, rest[0]).update!(columns(rest[1]))
      when "delete" then find(kind, rest[0]).destroy!
      end
    end
  end
  nil
end

answer =
  case COMMAND
  when "migrate" then migrate(WORDS[0])
  when "fake" then fake(WORDS[0])
  when "busy" then busy(WORDS[0], WORDS[1].to_i)
  else operations(JSON.parse(WORDS[0]))
  end
puts JSON.generate(answer)
