CREATE TABLE `authors` (
	`id` «PRIMARY»,
	`name` text NOT NULL,
	`seen` integer DEFAULT 0 NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `authors_name_unique` ON `authors` (`name`);--> statement-breakpoint
CREATE TABLE `books` (
	`id` «PRIMARY»,
	`title` text NOT NULL,
	`price` integer NOT NULL,
	`note` text,
	`author_id` «REFERENCE» NOT NULL,
	FOREIGN KEY (`author_id`) REFERENCES `authors`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE INDEX `book_price` ON `books` (`price`);
