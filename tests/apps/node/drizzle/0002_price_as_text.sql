DELETE FROM `books` WHERE `price` < 0;--> statement-breakpoint
PRAGMA foreign_keys=OFF;--> statement-breakpoint
CREATE TABLE `__new_books` (
	`id` «PRIMARY»,
	`title` text NOT NULL,
	`price` text NOT NULL,
	`note` text,
	`author_id` «REFERENCE» NOT NULL,
	FOREIGN KEY (`author_id`) REFERENCES `authors`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
INSERT INTO `__new_books`("id", "title", "price", "note", "author_id") SELECT "id", "title", "price", "note", "author_id" FROM `books`;--> statement-breakpoint
DROP TABLE `books`;--> statement-breakpoint
ALTER TABLE `__new_books` RENAME TO `books`;--> statement-breakpoint
PRAGMA foreign_keys=ON;--> statement-breakpoint
CREATE INDEX `book_price` ON `books` (`price`);
