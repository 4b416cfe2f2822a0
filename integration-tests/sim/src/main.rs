//! Runs seeds of the deterministic world. `cargo xtask sim` calls it.
fn main() {
    let args: Vec<u64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let words = std::env::args().any(|a| a == "--words");
    let short = std::env::args().any(|a| a == "--short");
    let length = if short { vipfence_sim::Length::Short } else { vipfence_sim::Length::Long };
    let (from, to) = (args[0], args.get(1).copied().unwrap_or(args[0] + 1));
    let t0 = std::time::Instant::now();
    let (mut ev, mut sim, mut bad) = (0, 0, 0);
    let mut some = vipfence_sim::Sometimes::default();
    for seed in from..to {
        let r = vipfence_sim::run_seed(seed, length, words);
        ev += r.events;
        sim += r.simulated;
        some.add(&r.sometimes);
        for l in &r.timeline {
            println!("{l}");
        }
        if let Some((at, v)) = &r.violation {
            bad += 1;
            println!("seed {seed} at {at}: {v}");
        }
        if to - from < 4 {
            println!(
                "{seed} fp {:x} ev {} conv {:?} calls {:?} {:?}",
                r.fingerprint, r.events, r.converged_after, r.calls, r.faults
            );
        }
    }
    let s = t0.elapsed().as_secs_f64();
    println!(
        "{} seeds, {bad} bad, {ev} events, {:.0} sim s, {s:.1} s, {:.0} ev/s",
        to - from,
        sim as f64 / 1e6,
        ev as f64 / s
    );
    for (w, c) in some.iter() {
        println!("  {c:>8} {w}");
    }
    println!("missing: {:?}", some.missing());
}
