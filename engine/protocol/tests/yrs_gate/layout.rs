//! An encoder of updates that can write anything: right, nearly right and wrong.

use driftless_protocol::canonical::{Reader, Writer};

use crate::dice::Dice;

#[derive(Debug, Clone, Default)]
pub(crate) struct Layout {
    pub(crate) runs: Vec<Run>,
    pub(crate) deletions: Vec<(u64, Vec<(u64, u64)>)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) client: u64,
    pub(crate) clock: u64,
    pub(crate) items: Vec<Item>,
}

#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) info: u8,
    pub(crate) left: Option<(u64, u64)>,
    pub(crate) right: Option<(u64, u64)>,
    /// Root and key; the key only where the info byte says so.
    pub(crate) place: Option<(Vec<u8>, Option<Vec<u8>>)>,
    pub(crate) content: Content,
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    Len(u64),
    Bytes(Vec<u8>),
}

impl Layout {
    /// Takes an update apart that is known to be right.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        Self::try_read(bytes).expect("a right update")
    }

    fn try_read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let id = |reader: &mut Reader<'_>| Some((reader.varint().ok()?, reader.varint().ok()?));
        let mut layout = Self::default();
        for _ in 0..reader.varint().ok()? {
            let count = reader.varint().ok()?;
            let (client, clock) = id(&mut reader)?;
            let mut items = Vec::new();
            for _ in 0..count {
                let info = reader.byte().ok()?;
                let left = if info & 0x80 != 0 { Some(id(&mut reader)?) } else { None };
                let right = if info & 0x40 != 0 { Some(id(&mut reader)?) } else { None };
                let mut place = None;
                if info & 0xc0 == 0 {
                    reader.byte().ok()?;
                    let root = reader.block().ok()?.to_vec();
                    let key = if info & 0x20 != 0 { Some(reader.block().ok()?.to_vec()) } else { None };
                    place = Some((root, key));
                }
                let content = match info & 0x0f {
                    1 => Content::Len(reader.varint().ok()?),
                    _ => Content::Bytes(reader.block().ok()?.to_vec()),
                };
                items.push(Item { info, left, right, place, content });
            }
            layout.runs.push(Run { client, clock, items });
        }
        for _ in 0..reader.varint().ok()? {
            let client = reader.varint().ok()?;
            let mut ranges = Vec::new();
            for _ in 0..reader.varint().ok()? {
                ranges.push(id(&mut reader)?);
            }
            layout.deletions.push((client, ranges));
        }
        reader.finish().ok()?;
        Some(layout)
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.varint(self.runs.len() as u64);
        for run in &self.runs {
            writer.varint(run.items.len() as u64);
            writer.varint(run.client);
            writer.varint(run.clock);
            for item in &run.items {
                writer.byte(item.info);
                for (client, clock) in item.left.iter().chain(&item.right) {
                    writer.varint(*client);
                    writer.varint(*clock);
                }
                if let Some((root, key)) = &item.place {
                    writer.byte(1);
                    writer.block(root);
                    if let Some(key) = key {
                        writer.block(key);
                    }
                }
                match &item.content {
                    Content::Len(len) => writer.varint(*len),
                    Content::Bytes(bytes) => writer.block(bytes),
                }
            }
        }
        writer.varint(self.deletions.len() as u64);
        for (client, ranges) in &self.deletions {
            writer.varint(*client);
            writer.varint(ranges.len() as u64);
            for (clock, len) in ranges {
                writer.varint(*clock);
                writer.varint(*len);
            }
        }
        writer.finish()
    }

    /// Changes one thing somewhere, mostly so that the result is nearly right.
    pub(crate) fn mutate(&mut self, dice: &mut Dice, contents: &[Vec<u8>]) {
        let clients: Vec<u64> =
            self.runs.iter().map(|run| run.client).chain(self.deletions.iter().map(|d| d.0)).collect();
        let client = |dice: &mut Dice| match dice.below(6) {
            0 => *dice.pick(&[0, 1, 2, (1 << 53) - 1, 1 << 53, u64::MAX, u64::from(u32::MAX)]),
            _ if clients.is_empty() => 7,
            _ => *dice.pick(&clients),
        };
        let number = |dice: &mut Dice, old: u64| match dice.below(10) {
            0..=3 => old.wrapping_add(1),
            4..=6 => old.wrapping_sub(1),
            7 => old / 2,
            8 => dice.below(12) as u64,
            _ => *dice.pick(&[
                0,
                (1 << 31) - 2,
                (1 << 31) - 1,
                1 << 31,
                u64::from(u32::MAX) - 1,
                u64::from(u32::MAX),
                1 << 32,
                u64::MAX,
            ]),
        };
        let runs = self.runs.len();
        match dice.below(if runs == 0 { 3 } else { 16 }) {
            0 if !self.deletions.is_empty() => {
                let at = dice.below(self.deletions.len());
                let (owner, ranges) = &mut self.deletions[at];
                match dice.below(6) {
                    0 => *owner = client(dice),
                    1 => ranges.push((dice.below(20) as u64, 1 + dice.below(5) as u64)),
                    2 => ranges.reverse(),
                    3 => {
                        let copy = self.deletions[at].clone();
                        self.deletions.push(copy);
                    }
                    _ if ranges.is_empty() => {}
                    4 => {
                        let at = dice.below(ranges.len());
                        ranges[at].0 = number(dice, ranges[at].0);
                    }
                    _ => {
                        let at = dice.below(ranges.len());
                        ranges[at].1 = number(dice, ranges[at].1);
                    }
                }
            }
            0 | 1 => {
                let range = (dice.below(12) as u64, 1 + dice.below(4) as u64);
                self.deletions.push((client(dice), vec![range]));
            }
            2 => self.deletions.clear(),
            3 => {
                let at = dice.below(runs);
                self.runs.swap(0, at);
            }
            4 => {
                let at = dice.below(runs);
                if dice.one_in(2) {
                    self.runs.remove(at);
                } else {
                    let mut copy = self.runs[at].clone();
                    if dice.one_in(2) {
                        copy.client = client(dice);
                    }
                    self.runs.push(copy);
                }
            }
            5 => {
                let at = dice.below(runs);
                self.runs[at].client = client(dice);
            }
            6 => {
                let at = dice.below(runs);
                self.runs[at].clock = number(dice, self.runs[at].clock);
            }
            7 => {
                let at = dice.below(runs);
                let items = &mut self.runs[at].items;
                let (a, b) = (dice.below(items.len().max(1)), dice.below(items.len().max(1)));
                match dice.below(4) {
                    _ if items.is_empty() => {}
                    0 => items.swap(a, b),
                    1 => drop(items.remove(a)),
                    2 => items.truncate(a),
                    _ => {
                        let copy = items[a].clone();
                        items.insert(b, copy);
                    }
                }
            }
            _ => {
                let run = dice.below(runs);
                if self.runs[run].items.is_empty() {
                    return;
                }
                let (at, other) =
                    (dice.below(self.runs[run].items.len()), dice.below(self.runs[run].items.len()));
                let copy = self.runs[run].items[other].clone();
                let item = &mut self.runs[run].items[at];
                match dice.below(9) {
                    0 => item.info ^= 1 << dice.below(8),
                    1 => {
                        let (owner, clock) = item.left.unwrap_or_default();
                        item.left = Some((owner, number(dice, clock)));
                        item.info |= 0x80;
                        item.place = None;
                    }
                    2 => {
                        let clock = item.left.map_or(0, |left| left.1);
                        item.left = Some((client(dice), clock));
                        item.info |= 0x80;
                        item.place = None;
                    }
                    3 => {
                        item.right = Some((client(dice), dice.below(12) as u64));
                        item.info |= 0x40;
                        item.place = None;
                    }
                    4 => {
                        item.right = None;
                        item.info &= !0x40;
                    }
                    5 if item.left.is_some() || item.right.is_some() => {
                        (item.left, item.right, item.place) = (None, None, copy.place);
                        item.info = item.info & 0x1f | copy.info & 0x20;
                    }
                    5 | 6 => {
                        item.info = item.info & 0xf0 | copy.info & 0x0f;
                        item.content = copy.content;
                    }
                    7 => match &mut item.content {
                        Content::Len(len) => *len = number(dice, *len),
                        Content::Bytes(bytes) => bytes.clone_from(dice.pick(contents)),
                    },
                    _ => {
                        item.content = Content::Len(1 + dice.below(4) as u64);
                        item.info = item.info & 0xf0 | 1;
                    }
                }
            }
        }
    }
}

/// Changes bytes without regard to what they mean.
pub(crate) fn mangle(bytes: &mut Vec<u8>, dice: &mut Dice, other: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let at = dice.below(bytes.len());
    match dice.below(6) {
        0 | 1 => bytes[at] ^= 1 << dice.below(8),
        2 => bytes[at] = *dice.pick(&[0, 1, 0x7f, 0x80, 0xff]),
        3 => bytes.truncate(at),
        4 => drop(bytes.remove(at)),
        _ => {
            let from = dice.below(other.len().max(1));
            let piece = other.get(from..).unwrap_or_default();
            let len = dice.below(piece.len().max(1));
            bytes.splice(at..at, piece[..len].iter().copied());
        }
    }
}
