//! What is on its way between nodes and relays: connections that begin, go on a thing at a time, lose and mangle frames, and
//! end known to both ends or to one.

use std::collections::VecDeque;

use bytes::Bytes;
use driftless::sim::{Ended, Link};

use super::node::Conversation;
use super::relay::Said;
use super::scenario::{Mangle, Side};
use super::world::{Checked, World, broken};

/// More than any step needs.
const MOST_MOVES: usize = 20_000;

/// What is on its way between a node and a relay.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) relay: usize,
    up: VecDeque<Bytes>,
    down: VecDeque<Said>,
}

impl World {
    pub(super) fn forget_ended(&mut self, n: usize) {
        let Some(conversation) = &self.nodes[n].link else { return };
        let Some(ended) = conversation.link.ended() else { return };
        let ended: Ended = ended.clone();
        self.trace.line(|| format!("  {n} is cut off: {ended:?}"));
        self.cut_off += 1;
        self.hang_up(n, Side::Both);
    }

    /// The connection of a node ends; who is not told keeps its end.
    pub(super) fn hang_up(&mut self, n: usize, known_to: Side) {
        let Some(conversation) = &self.nodes[n].link else { return };
        let number = conversation.wire;
        let Some(wire) = self.wires.get_mut(&number) else { return };
        let relay = wire.relay;
        if known_to != Side::Node {
            self.relays[relay].drop_connection(number);
        }
        match known_to {
            Side::Both => {
                self.wires.remove(&number);
                self.nodes[n].link = None;
            }
            // What was sent may still arrive, at whoever is left there.
            Side::Node => {
                wire.down.clear();
                self.nodes[n].old_wires.push(number);
                self.nodes[n].link = None;
            }
            Side::Relay => wire.up.clear(),
        }
    }

    pub(super) fn connect(&mut self, n: usize, relay: usize) -> Checked {
        if self.nodes[n].engine.is_none() || relay >= self.relays.len() {
            return Ok(());
        }
        self.hang_up(n, Side::Both);
        let space = self.space;
        let Some(link) = self.engine(n, false, |engine, _| Link::begin(engine, space))? else {
            return Ok(());
        };
        self.last_wire += 1;
        let number = self.last_wire;
        self.wires.insert(number, Wire { relay, up: VecDeque::new(), down: VecDeque::new() });
        self.relays[relay].accept(number);
        let node = &mut self.nodes[n];
        node.link = Some(Conversation { link, wire: number });
        (node.blocked_up, node.blocked_down) = (false, false);
        Ok(())
    }

    /// Something that is due at a node's connection. `false` if nothing is.
    fn move_once(&mut self, n: usize, troubled: bool) -> Checked<bool> {
        self.rotation = self.rotation.wrapping_add(1);
        for kind in 0..5 {
            let Some(conversation) = &mut self.nodes[n].link else { return Ok(false) };
            let number = conversation.wire;
            let Some(wire) = self.wires.get_mut(&number) else { return Ok(false) };
            let relay = wire.relay;
            match (self.rotation + kind) % 5 {
                0 if conversation.link.has_work() => {
                    self.engine(n, troubled, |engine, link| link.map_or(Ok(()), |link| link.work(engine)))?;
                }
                1 if conversation.link.has_frames() => {
                    if let Some(frame) = conversation.link.take_frame() {
                        self.always.sends(&frame)?;
                        wire.up.push_back(frame);
                    }
                }
                2 if !wire.up.is_empty()
                    && !self.nodes[n].blocked_up
                    && self.relays[relay].wants_input(number) =>
                {
                    self.arrive_up(number)?;
                }
                3 if self.relays[relay].has_work(number) => self.relay_works(number)?,
                4 if !wire.down.is_empty() && !self.nodes[n].blocked_down => {
                    let said = wire.down.pop_front();
                    self.tally.frames += 1;
                    self.set_clock(n);
                    if let (Some(conversation), Some(said)) = (&mut self.nodes[n].link, said) {
                        match said {
                            Said::Frame(frame) => conversation.link.receive(frame),
                            Said::Close(code, reason) => {
                                self.trace.line(|| format!("  the relay closes: {code:?} {reason}"));
                                conversation.link.closed(code, &reason);
                            }
                        }
                    }
                    self.forget_ended(n);
                }
                _ => continue,
            }
            return Ok(true);
        }
        Ok(false)
    }

    fn arrive_up(&mut self, number: u64) -> Checked {
        let Some(wire) = self.wires.get_mut(&number) else { return Ok(()) };
        let Some(frame) = wire.up.pop_front() else { return Ok(()) };
        self.tally.frames += 1;
        let said = self.relays[wire.relay].receive(number, frame);
        self.relay_says(number, said)
    }

    fn relay_works(&mut self, number: u64) -> Checked {
        let Some(wire) = self.wires.get_mut(&number) else { return Ok(()) };
        let said = self.relays[wire.relay].work(number);
        self.relay_says(number, said)
    }

    fn relay_says(&mut self, number: u64, said: Vec<Said>) -> Checked {
        let Some(wire) = self.wires.get_mut(&number) else { return Ok(()) };
        wire.down.extend(said);
        match self.relays[wire.relay].take_lie() {
            Some(lie) => broken("what is acknowledged is stored, and stays", lie),
            None => Ok(()),
        }
    }

    pub(super) fn pump(&mut self, n: usize, moves: usize, troubled: bool) -> Checked<usize> {
        for done in 0..moves {
            if !self.move_once(n, troubled)? {
                return Ok(done);
            }
        }
        Ok(moves)
    }

    pub(super) fn pump_old(&mut self, n: usize, moves: usize) -> Checked {
        for _ in 0..moves {
            let busy = self.nodes[n].old_wires.iter().copied().find(|number| {
                self.wires.get(number).is_some_and(|wire| {
                    let relay = &mut self.relays[wire.relay];
                    relay.has(*number)
                        && (relay.has_work(*number) || !wire.up.is_empty() && relay.wants_input(*number))
                })
            });
            let Some(number) = busy else { return Ok(()) };
            if self.relays[self.wires[&number].relay].has_work(number) {
                self.relay_works(number)?;
            } else {
                self.arrive_up(number)?;
            }
            if let Some(wire) = self.wires.get_mut(&number) {
                wire.down.clear();
            }
        }
        Ok(())
    }

    /// Old connections time out.
    pub(super) fn forget_old_wires(&mut self) {
        for node in &mut self.nodes {
            for number in node.old_wires.drain(..) {
                if let Some(wire) = self.wires.remove(&number) {
                    self.relays[wire.relay].drop_connection(number);
                }
            }
        }
    }

    /// Goes on until nothing is due anywhere. Fails if there is no end to it.
    pub(super) fn pump_all(&mut self) -> Checked {
        for _ in 0..MOST_MOVES {
            let mut idle = true;
            for n in 0..self.nodes.len() {
                idle &= self.pump(n, 8, false)? == 0;
            }
            if idle {
                return Ok(());
            }
        }
        broken("everything drains (I10)", format!("something was due after {MOST_MOVES} moves of everybody"))
    }

    pub(super) fn mangle(&mut self, n: usize, to: Side, how: Mangle) {
        let Some(conversation) = &self.nodes[n].link else { return };
        let Some(wire) = self.wires.get_mut(&conversation.wire) else { return };
        let change = |frame: &mut Bytes| {
            let mut bytes = frame.to_vec();
            match how {
                Mangle::Cut(at) => bytes.truncate(usize::from(at) % (bytes.len() + 1)),
                Mangle::Flip(at) if !bytes.is_empty() => {
                    let at = usize::from(at) % (bytes.len() * 8);
                    bytes[at / 8] ^= 1 << (at % 8);
                }
                Mangle::Version(version) if !bytes.is_empty() => bytes[0] = version,
                _ => {}
            }
            *frame = bytes.into();
        };
        fn requeue<T: Clone>(queue: &mut VecDeque<T>, how: Mangle) {
            match how {
                Mangle::Lose => drop(queue.pop_front()),
                Mangle::Twice => {
                    if let Some(first) = queue.front().cloned() {
                        queue.push_front(first);
                    }
                }
                Mangle::Swap if queue.len() > 1 => queue.swap(0, 1),
                _ => {}
            }
        }
        if to == Side::Relay {
            requeue(&mut wire.up, how);
            wire.up.front_mut().into_iter().for_each(change);
        } else {
            requeue(&mut wire.down, how);
            if let Some(Said::Frame(frame)) = wire.down.front_mut() {
                change(frame);
            }
        }
    }
}
