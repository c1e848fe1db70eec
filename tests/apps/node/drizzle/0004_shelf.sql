CREATE TABLE `shelf` (
	`id` «PRIMARY»,
	`label` text NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `shelf_label_unique` ON `shelf` (`label`);--> statement-breakpoint
ALTER TABLE `books` ADD `shelf_id` «REFERENCE» REFERENCES shelf(id);
