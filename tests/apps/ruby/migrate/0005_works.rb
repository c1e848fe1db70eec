class Works < ActiveRecord::Migration[6.1]
  def change
    rename_table :books, :works
  end
end
