ALTER TABLE `books` RENAME TO `works`;
