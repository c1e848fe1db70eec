class AddShelf < ActiveRecord::Migration[6.1]
  def change
    create_table :shelf, **key_options do |t|
      t.string :label, null: false, index: { unique: true }
    end
    add_reference :books, :shelf, type: reference_type, foreign_key: { to_table: :shelf }
  end
end
