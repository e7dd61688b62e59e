//! Runs each fuzz target on its corpus, and on mutations of it that are the same in each run.
//! Takes some seconds a target at most.

#![allow(clippy::unwrap_used, reason = "a panic names the line, and that is enough in a test")]

use std::{
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const MUTATIONS: u64 = 3000;
/// On a slow machine, fewer mutations are run.
const MAX_TIME: Duration = Duration::from_secs(4);
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Makes a test of each target.
macro_rules! targets {
    ($($target:ident)*) => {
        const TARGETS: &[&str] = &[$(stringify!($target)),*];

        $(#[test]
        fn $target() {
            replay(stringify!($target), merch_fuzz::$target);
        })*
    };
}

targets! {
    event_json generator grpc headers idempotency_key journal json page_token proto_rules query requests token
}

#[test]
fn each_program_has_a_target_with_a_corpus() {
    let names = |directory: &str| -> Vec<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
        let mut names: Vec<String> = fs::read_dir(root)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("fuzz_targets"), TARGETS);
    assert_eq!(names("corpus"), TARGETS);
}

fn replay(target: &str, run: fn(&[u8])) {
    let inputs = inputs(target);
    for (path, input) in &inputs {
        check(run, input, || path.display().to_string());
    }
    let (started, mut random) = (Instant::now(), Random(SEED));
    for number in 0..MUTATIONS {
        if started.elapsed() > MAX_TIME {
            return;
        }
        let mut input = random.choose(&inputs).1.clone();
        for _ in 0..=random.below(4) {
            mutate(&mut input, &inputs, &mut random);
        }
        check(run, &input, || format!("mutation {number}, {input:?}"));
    }
}

/// Adds the input to the message of a panic.
fn check(run: fn(&[u8]), input: &[u8], name: impl FnOnce() -> String) {
    let outcome = catch_unwind(|| run(input));
    assert!(outcome.is_ok(), "the target fails for {}; see the message above", name());
}

/// Returns the corpus, in the order of the names.
fn inputs(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "the corpus of {target} is empty; run `make fuzz TARGET={target}`");
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn mutate(input: &mut Vec<u8>, inputs: &[(PathBuf, Vec<u8>)], random: &mut Random) {
    let at = random.below(input.len() + 1);
    match random.below(6) {
        0 => input.truncate(at),
        1 => input.insert(at, *random.choose(b"\0\n ,:;\"{}[]/%&=.-+*\x7f\x80\xff0919az")),
        2 if at < input.len() => drop(input.remove(at)),
        3 if at < input.len() => input[at] ^= 1 << random.below(8),
        // A part of itself again.
        4 => {
            let part = input[at..(at + random.below(32)).min(input.len())].to_vec();
            let to = random.below(input.len() + 1);
            drop(input.splice(to..to, part));
        }
        // The end of another input.
        _ => {
            let other = &random.choose(inputs).1;
            input.truncate(at);
            input.extend_from_slice(&other[at.min(other.len())..]);
        }
    }
}

/// xorshift64*
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(high).unwrap() % bound
    }

    fn choose<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}
