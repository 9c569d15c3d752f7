//! 100,000 keys through a whole ramp.

use pgduet::routing::{Percent, bucket};

const KEYS: usize = 100_000;

#[test]
fn no_key_of_a_hundred_thousand_moves_back_and_the_shares_are_even() {
    let buckets: Vec<u16> = (0..KEYS).map(|n| bucket(&format!("user-{n}"))).collect();
    let mut before = vec![false; KEYS];
    for percent in 0..=100_u16 {
        let percent = Percent::from_hundredths(percent * 100);
        let now: Vec<bool> = buckets.iter().map(|&bucket| percent.opens(bucket)).collect();
        assert!(before.iter().zip(&now).all(|(before, now)| !before || *now), "a key moved back at {percent:?}");
        before = now;
    }
    assert!(before.iter().all(|open| *open));
    // Chi-square over 100 shares of a percent each, 99 degrees of freedom: over 148.2 once in a thousand draws.
    let mut shares = [0.0_f64; 100];
    buckets.iter().for_each(|&bucket| shares[usize::from(bucket / 100)] += 1.0);
    let expected = 1_000.0;
    let chi_square: f64 = shares.iter().map(|count| (count - expected).powi(2) / expected).sum();
    println!("chi-square {chi_square:.1} with 99 degrees of freedom");
    assert!(chi_square < 148.2, "the shares are uneven: {chi_square}");
}
