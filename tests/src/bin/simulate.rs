//! stub
fn main() {
    driftless_tests::sim::quiet_panics();
    let args: Vec<u64> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let (from, to) = (args[0], args[1]);
    let begun = std::time::Instant::now();
    let mut tally = driftless_tests::sim::Tally::default();
    let mut rules = std::collections::BTreeMap::<&str, Vec<u64>>::new();
    for seed in from..to {
        let run = driftless_tests::sim::run(seed, args.get(2) == Some(&1));
        tally += run.tally;
        if let Some(failure) = run.failure {
            if args.get(2) == Some(&2) {
                let (small, failure) = driftless_tests::sim::shrink(&run.scenario, &failure, |_| true);
                println!("{}\n{failure}", small.to_text());
                driftless_tests::sim::replay(&small, true);
            }
            if rules.entry(failure.rule).or_default().len() < 3 { println!("seed {seed}: {}", failure.to_string().chars().take(1500).collect::<String>()); }
            rules.entry(failure.rule).or_default().push(seed);
        }
    }
    println!("{tally:?} in {:?}", begun.elapsed());
    for (rule, seeds) in rules { println!("{rule}: {} {:?}", seeds.len(), &seeds[..seeds.len().min(10)]); }
}
