class PriceAsText < ActiveRecord::Migration[6.1]
  def up
    execute "DELETE FROM books WHERE price < 0"
    change_column :books, :price, :string, null: false
  end
end
