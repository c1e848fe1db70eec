PRAGMA foreign_keys=OFF;--> statement-breakpoint
CREATE TABLE `__new_works` (
	`id` «PRIMARY»,
	`name` text NOT NULL,
	`price` text NOT NULL,
	`author_id` «REFERENCE» NOT NULL,
	`pages` integer DEFAULT 0 NOT NULL,
	`shelf_id` «REFERENCE»,
	FOREIGN KEY (`author_id`) REFERENCES `authors`(`id`) ON UPDATE no action ON DELETE no action,
	FOREIGN KEY (`shelf_id`) REFERENCES `shelf`(`id`) ON UPDATE no action ON DELETE no action,
	CONSTRAINT "work_has_a_name" CHECK("__new_works"."name" <> '')
);
--> statement-breakpoint
INSERT INTO `__new_works`("id", "name", "price", "author_id", "pages", "shelf_id") SELECT "id", "name", "price", "author_id", "pages", "shelf_id" FROM `works`;--> statement-breakpoint
DROP TABLE `works`;--> statement-breakpoint
ALTER TABLE `__new_works` RENAME TO `works`;--> statement-breakpoint
PRAGMA foreign_keys=ON;--> statement-breakpoint
CREATE INDEX `book_price` ON `works` (`price`);
