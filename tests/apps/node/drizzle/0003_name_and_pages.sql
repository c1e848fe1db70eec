ALTER TABLE `books` RENAME COLUMN "title" TO "name";--> statement-breakpoint
ALTER TABLE `books` DROP COLUMN `note`;--> statement-breakpoint
ALTER TABLE `books` ADD `pages` integer DEFAULT 0 NOT NULL;
