//! From a run that fails to the few decisions that it takes.

use super::scenario::Scenario;
use super::{Failure, replay};

/// Leaves out steps, and statements of steps, as long as the same promise is broken. `told` hears how many steps are left
/// each time that there are fewer; it returns `false` to stop.
pub fn shrink(
    scenario: &Scenario,
    failure: &Failure,
    mut told: impl FnMut(usize) -> bool,
) -> (Scenario, Failure) {
    let mut best = scenario.clone();
    let mut found = failure.clone();
    let fails = |candidate: &Scenario| replay(candidate, false).failure.filter(|f| f.rule == failure.rule);
    loop {
        let before = size(&best);
        let mut chunk = (best.steps.len() / 2).max(1);
        loop {
            let mut at = 0;
            while at < best.steps.len() {
                let mut candidate = best.clone();
                candidate.steps.drain(at..(at + chunk).min(best.steps.len()));
                match fails(&candidate) {
                    Some(failure) => {
                        (best, found) = (candidate, failure);
                        if !told(best.steps.len()) {
                            return (best, found);
                        }
                    }
                    None => at += chunk,
                }
            }
            if chunk == 1 {
                break;
            }
            chunk /= 2;
        }
        for at in 0..best.steps.len() {
            for statement in (0..best.steps[at].statements().len()).rev() {
                let mut candidate = best.clone();
                if let Some(sql) = candidate.steps[at].statements_mut() {
                    sql.remove(statement);
                }
                if let Some(failure) = fails(&candidate) {
                    (best, found) = (candidate, failure);
                }
            }
        }
        if size(&best) == before || !told(best.steps.len()) {
            return (best, found);
        }
    }
}

fn size(scenario: &Scenario) -> usize {
    scenario.steps.len() + scenario.steps.iter().map(|step| step.statements().len()).sum::<usize>()
}
