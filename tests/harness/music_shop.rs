//! A database as people have them: the Chinook sample if `DRIFTLESS_CHINOOK` names it, otherwise one of its shape.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::database::create_database;

/// The Chinook sample, a SQLite file that the environment variable `DRIFTLESS_CHINOOK` names.
pub fn chinook() -> Option<PathBuf> {
    std::env::var_os("DRIFTLESS_CHINOOK").map(PathBuf::from)
}

/// A music shop: integer keys, a composite key, foreign keys, NUMERIC, NVARCHAR and DATETIME columns, indexes that
/// are not unique. The tables and columns that the scenarios use are those of Chinook.
#[derive(Debug, Clone, Copy)]
pub struct MusicShop {
    /// How many artists; of everything else there is in proportion.
    pub artists: u32,
}

impl MusicShop {
    /// Copies the Chinook sample to `path`, or makes a database of its shape and says so.
    pub fn put(path: &Path) {
        match chinook() {
            Some(found) => {
                let bytes = std::fs::read(found).expect("the sample can be read");
                // Not `fs::copy`: the sample may be read-only, and that would be copied too.
                std::fs::write(path, bytes).expect("the sample can be copied");
            }
            None => {
                eprintln!("DRIFTLESS_CHINOOK names no Chinook sample: a generated database takes its place");
                Self { artists: 275 }.create(path);
            }
        }
    }

    /// Makes the database.
    pub fn create(self, path: &Path) {
        create_database(path, &format!("PRAGMA foreign_keys = ON; BEGIN; {SCHEMA} {} COMMIT;", self.rows()));
    }

    fn rows(self) -> String {
        let mut sql = String::new();
        let mut add = |statement: std::fmt::Arguments<'_>| {
            let _ = writeln!(sql, "{statement};"); // a String takes it
        };
        for (id, name) in ["Rock", "Jazz", "Metal", "Blues", "Latin"].iter().enumerate() {
            add(format_args!("INSERT INTO Genre VALUES ({}, '{name}')", id + 1));
        }
        for (id, name) in ["MPEG audio file", "AAC audio file"].iter().enumerate() {
            add(format_args!("INSERT INTO MediaType VALUES ({}, '{name}')", id + 1));
        }
        for id in 1..=4 {
            add(format_args!("INSERT INTO Playlist VALUES ({id}, 'List {id}')"));
        }
        for id in 1..=8 {
            let boss = if id == 1 { "NULL".to_owned() } else { (id / 2).to_string() };
            add(format_args!(
                "INSERT INTO Employee VALUES ({id}, 'Last {id}', 'First {id}', {boss}, '19{}-02-18 00:00:00')",
                50 + id
            ));
        }
        for id in 1..=self.artists {
            add(format_args!("INSERT INTO Artist VALUES ({id}, 'Artist ''{id}'' é ☃')"));
            add(format_args!("INSERT INTO Album VALUES ({id}, 'Album of {id}', {id})"));
            for n in 0..12 {
                let track = (id - 1) * 12 + n + 1;
                let composer = if n % 3 == 0 { "NULL".to_owned() } else { format!("'Composer {n}'") };
                add(format_args!(
                    "INSERT INTO Track VALUES ({track}, 'Track {track}', {id}, {}, {}, {composer}, {}, {}, {})",
                    track % 2 + 1,
                    track % 5 + 1,
                    100_000 + track * 37,
                    4_000_000 + track,
                    if track % 4 == 0 { "1.99" } else { "0.99" }
                ));
                add(format_args!("INSERT INTO PlaylistTrack VALUES ({}, {track})", track % 4 + 1));
            }
        }
        for id in 1..=self.artists / 4 {
            let boss = id % 8 + 1;
            add(format_args!(
                "INSERT INTO Customer VALUES ({id}, 'Customer', 'Number {id}', NULL, '{id} Road', 'City', \
                 'c{id}@example.org', {boss})"
            ));
            for n in 0..5 {
                let invoice = (id - 1) * 5 + n + 1;
                add(format_args!(
                    "INSERT INTO Invoice VALUES ({invoice}, {id}, '2024-0{}-01 00:00:00', '{id} Road', {}.98)",
                    n + 1,
                    n + 1
                ));
                for line in 0..3 {
                    let line = (invoice - 1) * 3 + line + 1;
                    let track = line % (self.artists * 12) + 1;
                    add(format_args!("INSERT INTO InvoiceLine VALUES ({line}, {invoice}, {track}, 0.99, 1)"));
                }
            }
        }
        sql
    }
}

const SCHEMA: &str = "
CREATE TABLE [Artist] ([ArtistId] INTEGER NOT NULL, [Name] NVARCHAR(120),
  CONSTRAINT [PK_Artist] PRIMARY KEY ([ArtistId]));
CREATE TABLE [Album] ([AlbumId] INTEGER NOT NULL, [Title] NVARCHAR(160) NOT NULL, [ArtistId] INTEGER NOT NULL,
  CONSTRAINT [PK_Album] PRIMARY KEY ([AlbumId]),
  FOREIGN KEY ([ArtistId]) REFERENCES [Artist] ([ArtistId]) ON DELETE NO ACTION ON UPDATE NO ACTION);
CREATE TABLE [Employee] ([EmployeeId] INTEGER NOT NULL, [LastName] NVARCHAR(20) NOT NULL,
  [FirstName] NVARCHAR(20) NOT NULL, [ReportsTo] INTEGER, [BirthDate] DATETIME,
  CONSTRAINT [PK_Employee] PRIMARY KEY ([EmployeeId]),
  FOREIGN KEY ([ReportsTo]) REFERENCES [Employee] ([EmployeeId]) ON DELETE NO ACTION ON UPDATE NO ACTION);
CREATE TABLE [Customer] ([CustomerId] INTEGER NOT NULL, [FirstName] NVARCHAR(40) NOT NULL,
  [LastName] NVARCHAR(20) NOT NULL, [Company] NVARCHAR(80), [Address] NVARCHAR(70), [City] NVARCHAR(40),
  [Email] NVARCHAR(60) NOT NULL, [SupportRepId] INTEGER,
  CONSTRAINT [PK_Customer] PRIMARY KEY ([CustomerId]),
  FOREIGN KEY ([SupportRepId]) REFERENCES [Employee] ([EmployeeId]) ON DELETE NO ACTION ON UPDATE NO ACTION);
CREATE TABLE [Genre] ([GenreId] INTEGER NOT NULL, [Name] NVARCHAR(120),
  CONSTRAINT [PK_Genre] PRIMARY KEY ([GenreId]));
CREATE TABLE [MediaType] ([MediaTypeId] INTEGER NOT NULL, [Name] NVARCHAR(120),
  CONSTRAINT [PK_MediaType] PRIMARY KEY ([MediaTypeId]));
CREATE TABLE [Track] ([TrackId] INTEGER NOT NULL, [Name] NVARCHAR(200) NOT NULL, [AlbumId] INTEGER,
  [MediaTypeId] INTEGER NOT NULL, [GenreId] INTEGER, [Composer] NVARCHAR(220), [Milliseconds] INTEGER NOT NULL,
  [Bytes] INTEGER, [UnitPrice] NUMERIC(10,2) NOT NULL,
  CONSTRAINT [PK_Track] PRIMARY KEY ([TrackId]),
  FOREIGN KEY ([AlbumId]) REFERENCES [Album] ([AlbumId]) ON DELETE NO ACTION ON UPDATE NO ACTION,
  FOREIGN KEY ([GenreId]) REFERENCES [Genre] ([GenreId]) ON DELETE NO ACTION ON UPDATE NO ACTION,
  FOREIGN KEY ([MediaTypeId]) REFERENCES [MediaType] ([MediaTypeId]) ON DELETE NO ACTION ON UPDATE NO ACTION);
CREATE TABLE [Invoice] ([InvoiceId] INTEGER NOT NULL, [CustomerId] INTEGER NOT NULL, [InvoiceDate] DATETIME NOT NULL,
  [BillingAddress] NVARCHAR(70), [Total] NUMERIC(10,2) NOT NULL,
  CONSTRAINT [PK_Invoice] PRIMARY KEY ([InvoiceId]),
  FOREIGN KEY ([CustomerId]) REFERENCES [Customer] ([CustomerId]) ON DELETE NO ACTION ON UPDATE NO ACTION);
CREATE TABLE [InvoiceLine] ([InvoiceLineId] INTEGER NOT NULL, [InvoiceId] INTEGER NOT NULL,
  [TrackId] INTEGER NOT NULL, [UnitPrice] NUMERIC(10,2) NOT NULL, [Quantity] INTEGER NOT NULL,
  CONSTRAINT [PK_InvoiceLine] PRIMARY KEY ([InvoiceLineId]),
  FOREIGN KEY ([InvoiceId]) REFERENCES [Invoice] ([InvoiceId]) ON DELETE NO ACTION ON UPDATE NO ACTION,
  FOREIGN KEY ([TrackId]) REFERENCES [Track] ([TrackId]) ON DELETE NO ACTION ON UPDATE NO ACTION);
CREATE TABLE [Playlist] ([PlaylistId] INTEGER NOT NULL, [Name] NVARCHAR(120),
  CONSTRAINT [PK_Playlist] PRIMARY KEY ([PlaylistId]));
CREATE TABLE [PlaylistTrack] ([PlaylistId] INTEGER NOT NULL, [TrackId] INTEGER NOT NULL,
  CONSTRAINT [PK_PlaylistTrack] PRIMARY KEY ([PlaylistId], [TrackId]),
  FOREIGN KEY ([PlaylistId]) REFERENCES [Playlist] ([PlaylistId]) ON DELETE NO ACTION ON UPDATE NO ACTION,
  FOREIGN KEY ([TrackId]) REFERENCES [Track] ([TrackId]) ON DELETE NO ACTION ON UPDATE NO ACTION);
CREATE INDEX [IFK_AlbumArtistId] ON [Album] ([ArtistId]);
CREATE INDEX [IFK_CustomerSupportRepId] ON [Customer] ([SupportRepId]);
CREATE INDEX [IFK_EmployeeReportsTo] ON [Employee] ([ReportsTo]);
CREATE INDEX [IFK_InvoiceCustomerId] ON [Invoice] ([CustomerId]);
CREATE INDEX [IFK_InvoiceLineInvoiceId] ON [InvoiceLine] ([InvoiceId]);
CREATE INDEX [IFK_InvoiceLineTrackId] ON [InvoiceLine] ([TrackId]);
CREATE INDEX [IFK_PlaylistTrackPlaylistId] ON [PlaylistTrack] ([PlaylistId]);
CREATE INDEX [IFK_PlaylistTrackTrackId] ON [PlaylistTrack] ([TrackId]);
CREATE INDEX [IFK_TrackAlbumId] ON [Track] ([AlbumId]);
CREATE INDEX [IFK_TrackGenreId] ON [Track] ([GenreId]);
CREATE INDEX [IFK_TrackMediaTypeId] ON [Track] ([MediaTypeId]);
";
