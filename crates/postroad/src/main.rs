//! The door: command line verbs and wiring, no rules of its own.

fn main() {
    println!("postroad {}", env!("CARGO_PKG_VERSION"));
}
