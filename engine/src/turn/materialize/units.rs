//! In which order rows can leave their tables, so that after each step every row that is left has its parents.
//!
//! A row goes before those that it refers to. Rows that refer to one another in a ring go together: they are one unit.
//! The units are the strongly connected components, found by Tarjan's algorithm, which yields each after those that it
//! refers to. See <https://en.wikipedia.org/wiki/Tarjan%27s_strongly_connected_components_algorithm>; without recursion,
//! since a chain may be as long as a table.

/// `refers_to`: for each of some rows, which of them it refers to, by their places. The units, each after those that its
/// rows refer to.
pub(super) fn parents_first(refers_to: &[Vec<usize>]) -> Vec<Vec<usize>> {
    const UNSEEN: usize = usize::MAX;
    let count = refers_to.len();
    let (mut seen, mut low) = (vec![UNSEEN; count], vec![0; count]);
    let (mut waits, mut waiting) = (vec![false; count], Vec::new());
    let mut units = Vec::new();
    let mut next = 0;
    for root in 0..count {
        if seen[root] != UNSEEN {
            continue;
        }
        // A row and how many of those that it refers to have been dealt with.
        let mut path = vec![(root, 0)];
        while let Some((row, done)) = path.last_mut() {
            let row = *row;
            if *done == 0 && seen[row] == UNSEEN {
                (seen[row], low[row]) = (next, next);
                next += 1;
                waiting.push(row);
                waits[row] = true;
            }
            if let Some(&above) = refers_to[row].get(*done) {
                *done += 1;
                if seen[above] == UNSEEN {
                    path.push((above, 0));
                } else if waits[above] {
                    low[row] = low[row].min(seen[above]);
                }
                continue;
            }
            path.pop();
            if let Some(&(below, _)) = path.last() {
                low[below] = low[below].min(low[row]);
            }
            if low[row] == seen[row] {
                let at = waiting.iter().rposition(|&known| known == row).unwrap_or(0);
                let unit = waiting.split_off(at);
                unit.iter().for_each(|&member| waits[member] = false);
                units.push(unit);
            }
        }
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(refers_to: &[&[usize]]) -> Vec<Vec<usize>> {
        let refers_to: Vec<Vec<usize>> = refers_to.iter().map(|places| places.to_vec()).collect();
        let mut units = parents_first(&refers_to);
        let mut known: Vec<usize> = Vec::new();
        for unit in &mut units {
            unit.sort_unstable();
            known.extend(unit.iter());
            for &row in unit.iter() {
                assert!(refers_to[row].iter().all(|above| known.contains(above)), "{row} stands too early");
            }
        }
        units
    }

    #[test]
    fn each_row_stands_after_those_that_it_refers_to() {
        assert_eq!(order(&[&[1], &[2], &[]]), [[2], [1], [0]]);
        assert_eq!(order(&[&[], &[0], &[1, 0], &[]]).len(), 4);
        assert_eq!(order(&[]), [[0; 0]; 0]);
    }

    #[test]
    fn a_ring_is_one_unit() {
        assert_eq!(order(&[&[1], &[2], &[0], &[0], &[3]]), [vec![0, 1, 2], vec![3], vec![4]]);
        assert_eq!(order(&[&[0]]), [[0]]);
        assert_eq!(order(&[&[1], &[0], &[3, 0], &[2]]), [[0, 1], [2, 3]]);
    }

    #[test]
    fn a_chain_may_be_as_long_as_a_table() {
        let refers_to: Vec<Vec<usize>> =
            (0..200_000).map(|row| if row == 199_999 { vec![] } else { vec![row + 1] }).collect();
        let units = parents_first(&refers_to);
        assert!(units.iter().rev().enumerate().all(|(row, unit)| *unit == [row]));
    }
}
