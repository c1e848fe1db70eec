class Initial < ActiveRecord::Migration[6.1]
  def change
    create_table :authors, **key_options do |t|
      t.string :name, null: false, index: { unique: true }
      t.integer :seen, null: false, default: 0
    end
    create_table :books, **key_options do |t|
      t.string :title, null: false
      t.integer :price, null: false, index: true
      t.text :note
      t.references :author, null: false, type: reference_type, foreign_key: true
    end
  end
end
