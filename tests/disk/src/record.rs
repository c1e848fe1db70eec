//! What of one file is on the platter, and what only in memory, where a power loss finds it.
//!
//! A file is kept as it is now by the operating system, which sees all writes at once. Beside it stand the
//! sectors as they were at the last sync, of those that were written since, and the writes themselves. From
//! these a power loss makes the file anew: as it was at the last sync, and then some of the writes.

use std::collections::BTreeMap;

use fastrand::Rng;

/// What a disk writes whole or not at all, in bytes.
const SECTOR: u64 = 512;

/// One file since its last sync.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Its size at the last sync.
    size: u64,
    /// Sectors below that size as they were then, by number: those that were touched since.
    before: BTreeMap<u64, Vec<u8>>,
    later: Vec<Later>,
    /// Set while its name is not for sure in its folder.
    pub(crate) new: Option<New>,
}

/// A name that a power loss may take back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct New {
    /// The change that made the file.
    pub(crate) number: u64,
    /// Whether the first sync of the file syncs its folder as well.
    pub(crate) syncs_folder: bool,
}

/// A change that no sync has followed.
#[derive(Debug)]
struct Later {
    number: u64,
    what: Done,
}

#[derive(Debug)]
enum Done {
    Write { offset: u64, data: Vec<u8> },
    Truncate { size: u64 },
}

/// What a power loss does to changes that were not synced.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Crash {
    /// All that came before this change is there, of itself a part, nothing of what came after.
    At(u64),
    /// Each is there, wholly or partly, with this probability.
    Each(f64),
}

/// How much of a change is there.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    There,
    Torn,
    Gone,
}

/// What became of the changes that were not synced.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// So many are there.
    pub kept: usize,
    /// So many writes are there in part.
    pub torn: usize,
    /// So many are gone.
    pub lost: usize,
}

impl Crash {
    pub(crate) fn draw(unsynced: &[u64], rng: &mut Rng) -> Self {
        match rng.u8(..8) {
            0 => Crash::Each(0.0),
            1 => Crash::Each(1.0),
            2..=4 => Crash::At(rng.choice(unsynced).copied().unwrap_or(0)),
            _ => Crash::Each(rng.f64()),
        }
    }

    /// Whether a change is there that cannot be there in part.
    pub(crate) fn keeps(self, number: u64, rng: &mut Rng, loss: &mut Loss) -> bool {
        let kept = match self {
            Crash::At(last) => number < last || (number == last && rng.bool()),
            Crash::Each(probability) => rng.f64() < probability,
        };
        *(if kept { &mut loss.kept } else { &mut loss.lost }) += 1;
        kept
    }

    fn fate(self, number: u64, rng: &mut Rng) -> Fate {
        match self {
            Crash::At(last) if number < last => Fate::There,
            Crash::At(last) if number > last => Fate::Gone,
            Crash::At(_) => Fate::Torn,
            Crash::Each(probability) if rng.f64() < probability => Fate::There,
            // All or nothing would not be that with halves of writes.
            Crash::Each(probability) if probability > 0.0 && rng.u8(..4) == 0 => Fate::Torn,
            Crash::Each(_) => Fate::Gone,
        }
    }
}

impl Record {
    /// Of a file that is there, all of it on the platter.
    pub(crate) fn of_size(size: u64) -> Self {
        Self { size, ..Self::default() }
    }

    /// Of a file that has just been made.
    pub(crate) fn of_new(new: New) -> Self {
        Self { new: Some(new), ..Self::default() }
    }

    /// To be called before bytes are written: `read` fills a buffer from an offset of the file, with zeros
    /// past its end.
    pub(crate) fn will_write<E>(
        &mut self,
        offset: u64,
        length: usize,
        read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.keep(offset, offset + length as u64, read)
    }

    /// To be called when bytes have been written.
    pub(crate) fn wrote(&mut self, number: u64, offset: u64, data: &[u8]) {
        self.later.push(Later { number, what: Done::Write { offset, data: data.to_vec() } });
    }

    /// To be called before the file is cut, or grown, to `size`.
    pub(crate) fn will_truncate<E>(
        &mut self,
        size: u64,
        read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.keep(size, self.size, read)
    }

    /// To be called when it has been.
    pub(crate) fn truncated(&mut self, number: u64, size: u64) {
        self.later.push(Later { number, what: Done::Truncate { size } });
    }

    /// To be called when all of the file, which has this size, has reached the platter.
    pub(crate) fn synced(&mut self, size: u64) {
        *self = Self::of_size(size);
    }

    /// Whether a power loss would change nothing.
    pub(crate) fn is_synced(&self) -> bool {
        self.later.is_empty() && self.new.is_none()
    }

    /// The numbers of the changes that were not synced.
    pub(crate) fn unsynced(&self) -> impl Iterator<Item = u64> {
        self.later.iter().map(|later| later.number).chain(self.new.map(|new| new.number))
    }

    /// The file after a power loss, from what it is now.
    pub(crate) fn survivor(&self, now: Vec<u8>, crash: Crash, rng: &mut Rng, loss: &mut Loss) -> Vec<u8> {
        let mut file = self.at_last_sync(now);
        for Later { number, what } in &self.later {
            let fate = match (crash.fate(*number, rng), what) {
                (Fate::Torn, Done::Truncate { .. }) => *rng.choice([&Fate::There, &Fate::Gone]).expect("two"),
                (fate, _) => fate,
            };
            *(match fate {
                Fate::There => &mut loss.kept,
                Fate::Torn => &mut loss.torn,
                Fate::Gone => &mut loss.lost,
            }) += 1;
            match what {
                Done::Write { offset, data } => write(&mut file, *offset, data, fate, rng),
                Done::Truncate { size } if fate == Fate::There => resize(&mut file, *size, rng),
                Done::Truncate { .. } => {}
            }
        }
        file
    }

    /// Keeps the sectors between two offsets as they are, those that were there at the last sync and are not
    /// kept yet.
    fn keep<E>(
        &mut self,
        from: u64,
        to: u64,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let sectors = from / SECTOR..to.min(self.size).div_ceil(SECTOR);
        let mut missing = sectors.clone().filter(|sector| !self.before.contains_key(sector)).peekable();
        let Some(&first) = missing.peek() else { return Ok(()) };
        let last = missing.last().unwrap_or(first);
        // One read of the whole costs less than a read a sector.
        let mut bytes = vec![0; ((last + 1 - first) * SECTOR) as usize];
        read(first * SECTOR, &mut bytes)?;
        for (sector, bytes) in (first..).zip(bytes.chunks(SECTOR as usize)) {
            self.before.entry(sector).or_insert_with(|| bytes.to_vec());
        }
        Ok(())
    }

    fn at_last_sync(&self, mut now: Vec<u8>) -> Vec<u8> {
        now.resize((self.size.div_ceil(SECTOR) * SECTOR) as usize, 0);
        for (sector, bytes) in &self.before {
            let at = (sector * SECTOR) as usize;
            now[at..at + bytes.len()].copy_from_slice(bytes);
        }
        now.truncate(self.size as usize);
        now
    }
}

/// Writes those sectors that arrive.
fn write(file: &mut Vec<u8>, offset: u64, data: &[u8], fate: Fate, rng: &mut Rng) {
    let mut at = offset;
    let mut data = data;
    while !data.is_empty() {
        let (piece, rest) = data.split_at(((SECTOR - at % SECTOR) as usize).min(data.len()));
        let end = at + piece.len() as u64;
        let arrives = match fate {
            Fate::There => true,
            Fate::Torn => rng.bool(),
            Fate::Gone => false,
        };
        // The size of a file may arrive where what is in it does not.
        if file.len() < end as usize && (arrives || (fate == Fate::Torn && rng.bool())) {
            resize(file, end, rng);
        }
        if arrives {
            file[at as usize..end as usize].copy_from_slice(piece);
        }
        (at, data) = (end, rest);
    }
}

/// Cuts a file, or grows it. The new part is what happens to lie on the disk there: zeros, or anything.
fn resize(file: &mut Vec<u8>, size: u64, rng: &mut Rng) {
    let from = file.len();
    file.resize(size as usize, 0);
    if from < file.len() && rng.bool() {
        rng.fill(&mut file[from..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of `content` that was synced, and a write that was not.
    fn written(content: &[u8], offset: u64, data: &[u8]) -> (Record, Vec<u8>) {
        let mut record = Record::of_size(content.len() as u64);
        let mut file = content.to_vec();
        write_through(&mut record, &mut file, 1, offset, data);
        (record, file)
    }

    fn write_through(record: &mut Record, file: &mut Vec<u8>, number: u64, offset: u64, data: &[u8]) {
        record.will_write(offset, data.len(), |at, bytes| read(file, at, bytes)).expect("read");
        let end = offset as usize + data.len();
        file.resize(file.len().max(end), 0);
        file[offset as usize..end].copy_from_slice(data);
        record.wrote(number, offset, data);
    }

    fn read(file: &[u8], at: u64, bytes: &mut [u8]) -> Result<(), ()> {
        for (to, from) in bytes.iter_mut().zip(file.iter().skip(at as usize)) {
            *to = *from;
        }
        Ok(())
    }

    fn survivors(record: &Record, now: &[u8], crash: Crash) -> Vec<Vec<u8>> {
        let survivor =
            |seed| record.survivor(now.to_vec(), crash, &mut Rng::with_seed(seed), &mut Loss::default());
        (0..100).map(survivor).collect()
    }

    #[test]
    fn what_was_synced_is_there_when_all_that_followed_is_gone() {
        let old: Vec<u8> = (0..3000u32).map(|n| n as u8).collect();
        let (mut record, mut file) = written(&old, 700, &[0xaa; 900]);
        write_through(&mut record, &mut file, 2, 100, &[0xbb; 4000]);
        record.will_truncate(10, |at, bytes| read(&file, at, bytes)).expect("read");
        file.truncate(10);
        record.truncated(3, 10);
        for survivor in survivors(&record, &file, Crash::Each(0.0)) {
            assert_eq!(survivor, old);
        }
        for survivor in survivors(&record, &file, Crash::Each(1.0)) {
            assert_eq!(survivor, file);
        }
    }

    #[test]
    fn what_was_cut_off_and_written_again_is_there_if_both_are_gone() {
        let old = [1; 3000];
        let (mut record, mut file) = (Record::of_size(3000), old.to_vec());
        record.will_truncate(700, |at, bytes| read(&file, at, bytes)).expect("read");
        file.truncate(700);
        record.truncated(1, 700);
        write_through(&mut record, &mut file, 2, 700, &[2; 1000]);
        for survivor in survivors(&record, &file, Crash::Each(0.0)) {
            assert_eq!(survivor, old);
        }
        let torn = survivors(&record, &file, Crash::At(1));
        assert!(
            torn.contains(&old.to_vec()) && torn.contains(&old[..700].to_vec()),
            "a cut is not sometimes gone"
        );
    }

    #[test]
    fn a_torn_write_is_torn_between_sectors() {
        let (record, file) = written(&[1; 2048], 0, &[2; 2048]);
        let survivors = survivors(&record, &file, Crash::At(1));
        for survivor in &survivors {
            assert_eq!(survivor.len(), 2048);
            for sector in survivor.chunks(512) {
                assert!(sector == [1; 512] || sector == [2; 512], "a sector is torn");
            }
        }
        assert!(survivors.iter().any(|survivor| survivor[..512] != survivor[512..1024]), "no write is torn");
    }

    #[test]
    fn a_write_of_part_of_a_sector_leaves_the_rest_of_it() {
        let (record, file) = written(&[1; 512], 100, &[2; 50]);
        for survivor in survivors(&record, &file, Crash::At(1)) {
            assert!(survivor[..100] == [1; 100] && survivor[150..] == [1; 362]);
        }
    }

    #[test]
    fn a_file_can_grow_by_anything_where_a_write_did_not_arrive() {
        let (record, file) = written(&[1; 512], 512, &[2; 1024]);
        let survivors = survivors(&record, &file, Crash::At(1));
        assert!(survivors.iter().all(|survivor| survivor[..512] == [1; 512]));
        let odd = |survivor: &&Vec<u8>| survivor[512..].chunks(512).any(|sector| sector != [2; 512]);
        assert!(survivors.iter().any(|survivor| survivor.len() == 512), "it always grows");
        assert!(survivors.iter().find(odd).is_some(), "what it grew by is always what was written");
    }

    #[test]
    fn a_sync_makes_the_present_the_last_that_is_sure() {
        let (mut record, mut file) = written(&[1; 600], 0, &[2; 600]);
        record.synced(600);
        assert!(record.is_synced());
        write_through(&mut record, &mut file, 2, 0, &[3; 600]);
        for survivor in survivors(&record, &file, Crash::Each(0.0)) {
            assert_eq!(survivor, [2; 600]);
        }
    }

    #[test]
    fn a_cut_in_time_keeps_what_came_before_it() {
        let (mut record, mut file) = written(&[1; 512], 0, &[2; 512]);
        write_through(&mut record, &mut file, 5, 0, &[3; 512]);
        for survivor in survivors(&record, &file, Crash::At(4)) {
            assert_eq!(survivor, [2; 512]);
        }
    }
}
