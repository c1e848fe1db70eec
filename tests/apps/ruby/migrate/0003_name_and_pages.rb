class NameAndPages < ActiveRecord::Migration[6.1]
  def change
    rename_column :books, :title, :name
    remove_column :books, :note, :text
    add_column :books, :pages, :integer, null: false, default: 0
  end
end
