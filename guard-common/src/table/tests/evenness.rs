//! Whether the mix spreads sets of addresses as evenly as chance does, whatever their

//! order: ranges, strides, and sets that are regular in several places at once.

use alloc::vec;
use alloc::vec::Vec;

use super::super::place::WORDS;
use super::{header, numbers};

/// How many addresses find no place among the eight words of their bucket.
fn without_place(set: impl Iterator<Item = u32>, buckets: u32, seed: u64) -> u32 {
    let header = header(buckets, seed);
    let mut loads = vec![0_u32; buckets as usize + 1];
    for address in set {
        loads[header.line(address) as usize] += 1;
    }
    assert_eq!(loads[0], 0, "the header is no bucket");
    loads.iter().map(|load| load.saturating_sub(u32::try_from(WORDS).expect("8"))).sum()
}

const SIZE: u32 = 1 << 16;
/// Three addresses a bucket.
const BUCKETS: u32 = SIZE / 3;

/// A name, and the address of each number.
type Set = (&'static str, fn(u32) -> u32);

fn regular_sets() -> Vec<Set> {
    vec![
        ("consecutive", |n| 0x0a10_0000 + n),
        ("consecutive in network order", |n| (0x0a10_0000 + n).swap_bytes()),
        ("stride 3", |n| 0x0a00_0000 + n * 3),
        ("stride 256", |n| 0x0a00_0000 + (n << 8)),
        ("stride 256 in network order", |n| (0x0a00_0000_u32.wrapping_add(n << 8)).swap_bytes()),
        ("stride 65,536", |n| n << 16),
        ("stride 65,536 in network order", |n| (n << 16).swap_bytes()),
        ("bits 0 to 7 and 24 to 31", |n| n & 0xff | n >> 8 << 24),
        ("every second bit", |n| {
            (0..16).fold(0, |address, bit| address | (n >> bit & 1) << (2 * bit))
        }),
        ("stride of the golden ratio", |n| n.wrapping_mul(0x9e37_79b9)),
        ("four corners", |n| (n & 3).wrapping_mul(0x4000_0000) + (n >> 2)),
    ]
}

#[test]
fn regular_sets_overflow_no_more_than_random_ones() {
    for (name, of) in regular_sets() {
        let mut worst = 0;
        for seed in 0..64 {
            worst = worst.max(without_place((0..SIZE).map(of), BUCKETS, seed));
        }
        // Chance alone leaves 0.17 % without a place, 110 here, and hardly ever 170.
        assert!(worst <= 220, "{name}: {worst} of {SIZE} without a place");
    }
}

#[test]
fn random_sets_overflow_as_the_poisson_distribution_says() {
    let mut next = numbers(7);
    let mut sum = 0;
    for seed in 0..32 {
        let set = (0..SIZE).map(|_| (next() >> 32) as u32);
        sum += without_place(set, BUCKETS, seed);
    }
    let mean = sum / 32;
    assert!((60..=170).contains(&mean), "{mean} of {SIZE} without a place");
}

/// Whoever knows the mix but not the seed looks for addresses that share a bucket under
/// many seeds, and bans those under another one.
#[test]
fn addresses_that_collide_under_known_seeds_do_not_under_the_secret_one() {
    let mut next = numbers(11);
    let buckets = 256;
    let mut chosen: Vec<u32> = (0..1 << 20).map(|_| (next() >> 32) as u32).collect();
    for seed in 0..2 {
        let header = header(buckets, seed);
        chosen.retain(|address| header.line(*address) <= 8);
    }
    assert!(chosen.len() > 500, "{} candidates", chosen.len());
    let share = 8 * chosen.len() / 256;
    for secret in 1000..1064 {
        let header = header(buckets, secret);
        let crowded = chosen.iter().filter(|address| header.line(**address) <= 8).count();
        assert!(crowded < 3 * share + 16, "{crowded} under seed {secret}, {share} by chance");
    }
}
