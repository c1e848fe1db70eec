//! Tables that belong to one machine's copy of an app and not to its data: what migration tools have applied, sessions,
//! caches. Known by their names; where the name is a common word, by their columns too.
//!
//! A list of applied migrations that travels makes the other machine skip its own migration: its tables never change.

use std::collections::BTreeSet;

use super::inventory::Object;
use crate::store::fold;

/// What a table is for, if not for data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// What a migration tool has applied to this file.
    Migrations,
    /// Sessions, caches and the like.
    Sessions,
}

/// Names that nobody gives a table of data, folded.
const MIGRATIONS: &[&str] = &[
    "alembic_version",             // SQLAlchemy
    "schema_migrations",           // Rails, Ecto, golang-migrate, dbmate
    "ar_internal_metadata",        // Rails
    "django_migrations",           // Django
    "_prisma_migrations",          // Prisma
    "__drizzle_migrations",        // Drizzle
    "_sqlx_migrations",            // SQLx
    "__diesel_schema_migrations",  // Diesel
    "seaql_migrations",            // SeaORM
    "__efmigrationshistory",       // Entity Framework
    "__efmigrationslock",          // Entity Framework
    "grdb_migrations",             // GRDB
    "refinery_schema_history",     // refinery
    "knex_migrations",             // knex, Objection
    "knex_migrations_lock",        // knex
    "kysely_migration",            // Kysely
    "kysely_migration_lock",       // Kysely
    "flyway_schema_history",       // Flyway
    "databasechangelog",           // Liquibase
    "databasechangeloglock",       // Liquibase
    "goose_db_version",            // goose
    "gorp_migrations",             // sql-migrate
    "bun_migrations",              // Bun
    "bun_migration_locks",         // Bun
    "atlas_schema_revisions",      // Atlas
    "darwin_migrations",           // darwin
    "phinxlog",                    // Phinx
    "doctrine_migration_versions", // Doctrine
    "typeorm_metadata",            // TypeORM
    "sequelizemeta",               // Sequelize
    "sequelizedata",               // Sequelize
    "mikro_orm_migrations",        // MikroORM
    "umzug_migrations",            // Umzug
    "d1_migrations",               // Cloudflare D1
    "_cf_kv",                      // Cloudflare D1
    "_cf_metadata",                // Cloudflare D1
    "_litestream_seq",             // Litestream
    "_litestream_lock",            // Litestream
    "_yoyo_migration",             // yoyo
    "_yoyo_log",                   // yoyo
    "_yoyo_version",               // yoyo
    "yoyo_lock",                   // yoyo
    "migratehistory",              // peewee-migrate
    "aerich",                      // Tortoise
    "_sqlite_migrations",          // sqlite-migrate
    "_migrations_sqlite_utils",    // sqlite-migrate
    "room_master_table",           // Room
    "android_metadata",            // Android
    "z_metadata",                  // Core Data
    "z_modelcache",                // Core Data
    "z_primarykey",                // Core Data
    "schema_info",                 // Sequel
    "schema_version_history",      // Evolve
    "schemaversions",              // DbUp
    "versioninfo",                 // FluentMigrator
    "cakephp_phinxlog",            // CakePHP
];

/// The same for sessions and caches.
const SESSIONS: &[&str] = &[
    "django_session",
    "django_cache",
    "solid_cache_entries",
    "solid_cable_messages",
    "flask_sessions",
    "tower_sessions",
    "actix_sessions",
    "adonis_session",
];

/// Names that are common words, with sets of columns one of which a table must have, and no other column.
const SHAPED: &[(&str, Purpose, &[&[&str]])] = &[
    (
        "migrations",
        Purpose::Migrations,
        &[
            &["id", "migration", "batch"], // Laravel
            &["id", "timestamp", "name"],  // TypeORM
            &["id", "name"],               // node-sqlite
            &["id", "name", "up", "down"], // sqlite (npm)
            &["id", "name", "run_on"],     // db-migrate
            &["name", "applied_at"],
            &["id", "name", "applied_at"],
            &["version", "class", "group", "namespace", "time", "batch", "id"], // CodeIgniter
        ],
    ),
    (
        "migration",
        Purpose::Migrations,
        &[
            &["id", "name", "app_name", "ran_on"], // Piccolo
            &["version", "apply_time"],            // Yii
            &["id", "name", "timestamp"],
        ],
    ),
    (
        "schema_version",
        Purpose::Migrations,
        &[
            &["version"],
            &["id", "version"],
            &["version", "applied_at"],
            &[
                "version_rank",
                "installed_rank",
                "version",
                "description",
                "type",
                "script",
                "checksum",
                "installed_by",
                "installed_on",
                "execution_time",
                "success",
            ], // Flyway before 5
        ],
    ),
    (
        "sessions",
        Purpose::Sessions,
        &[
            &["sid", "sess", "expired"], // connect-session-knex, connect-sqlite3
            &["sid", "sess", "expire"],
            &["sid", "expired", "sess"],
            &["sid", "expires", "data", "createdat", "updatedat"], // connect-session-sequelize
            &["sid", "session", "expires"],
            &["id", "session_id", "data", "created_at", "updated_at"], // Rails
            &["id", "session_id", "data", "expiry"],                   // Flask-Session
            &["id", "user_id", "ip_address", "user_agent", "payload", "last_activity"], // Laravel
            &["token", "data", "expiry"],                              // scs
            &["id", "data", "expiry_date"],                            // tower-sessions
            &["id", "expires", "session"],
            &["session_id", "data"],
            &["session_id", "atime", "data"], // web.py
        ],
    ),
    (
        "session",
        Purpose::Sessions,
        &[
            &["sid", "sess", "expire"], // connect-pg-simple's shape
            &["sid", "expires", "data"],
            &["id", "sid", "data", "expiresat"], // prisma-session-store
            &["id", "expiredat", "json"],        // connect-typeorm
            &["id", "expiredat", "json", "destroyedat"],
        ],
    ),
    (
        "cache",
        Purpose::Sessions,
        &[
            &["key", "value", "expiration"],    // Laravel
            &["cache_key", "value", "expires"], // Django's cache table
            &["id", "data", "expire"],          // Yii
        ],
    ),
    ("cache_locks", Purpose::Sessions, &[&["key", "owner", "expiration"]]), // Laravel
];

/// What a table is for, if it is not for data.
pub(crate) fn purpose(table: &Object) -> Option<Purpose> {
    let name = fold(&table.name);
    if MIGRATIONS.contains(&&*name) || name.starts_with("knex_migrations") {
        return Some(Purpose::Migrations);
    }
    if SESSIONS.contains(&&*name) {
        return Some(Purpose::Sessions);
    }
    let columns: BTreeSet<String> = table.columns.iter().map(|column| fold(&column.name)).collect();
    let fits = |shape: &&[&str]| {
        shape.len() == columns.len() && shape.iter().all(|column| columns.contains(*column))
    };
    let known = SHAPED.iter().find(|(word, _, shapes)| *word == name && shapes.iter().any(fits));
    known.map(|(_, purpose, _)| *purpose)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::inventory::Inventory;

    fn of(sql: &str) -> Option<Purpose> {
        let connection = rusqlite::Connection::open_in_memory().expect("in memory");
        connection.execute_batch(sql).expect("valid SQL");
        let inventory = Inventory::read(&connection).expect("read");
        let table = inventory.user_tables().next().expect("a table");
        purpose(table)
    }

    #[test]
    fn a_common_word_is_bookkeeping_only_with_the_columns_of_a_tool() {
        assert_eq!(of("CREATE TABLE Schema_Migrations (version)"), Some(Purpose::Migrations));
        assert_eq!(of("CREATE TABLE django_session (session_key TEXT)"), Some(Purpose::Sessions));
        let laravel = "CREATE TABLE migrations (id INTEGER PRIMARY KEY, migration TEXT, batch INTEGER)";
        assert_eq!(of(laravel), Some(Purpose::Migrations));
        // Whales, for one, migrate.
        assert_eq!(of("CREATE TABLE migrations (id TEXT PRIMARY KEY, whale TEXT, began TEXT)"), None);
        assert_eq!(
            of("CREATE TABLE sessions (sid TEXT PRIMARY KEY, expired, sess)"),
            Some(Purpose::Sessions)
        );
        assert_eq!(of("CREATE TABLE sessions (id TEXT PRIMARY KEY, trainer TEXT, starts_at TEXT)"), None);
    }

    #[test]
    fn every_name_on_the_lists_is_folded() {
        let words = SHAPED.iter().flat_map(|(word, _, shapes)| {
            std::iter::once(word).chain(shapes.iter().flat_map(|shape| shape.iter()))
        });
        for name in MIGRATIONS.iter().chain(SESSIONS).chain(words) {
            assert_eq!(fold(name), *name);
        }
    }
}
