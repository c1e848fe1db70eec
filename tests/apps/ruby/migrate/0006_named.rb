class Named < ActiveRecord::Migration[6.1]
  def change
    add_check_constraint :works, "name <> ''", name: "work_has_a_name"
  end
end
