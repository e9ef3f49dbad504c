//! Scratch.
mod common;
#[path = "common/probe.rs"]
mod probe;
use mpshm::*;
use probe::*;
use std::time::Duration;
fn main() {
    common::main(tests![a, b, c, d])
}
fn a() {
    let (x, y) = (Event::new().unwrap(), Event::new().unwrap());
    let child = spawn(|| {
        for _ in 0..20000 {
            assert!(select(&[&x], LONG).unwrap().contains(0));
            x.clear();
            y.set();
        }
    });
    let s = std::time::Instant::now();
    for _ in 0..20000 {
        x.set();
        assert!(select(&[&x.segment_dummy(), &y], LONG).unwrap().contains(1));
        y.clear();
    }
    println!("{:?}", s.elapsed() / 20000);
    join(&child);
}
trait D {
    fn segment_dummy(&self) -> Event;
}
impl D for Event {
    fn segment_dummy(&self) -> Event {
        Event::new().unwrap()
    }
}
fn b() {
    let many: Vec<Event> = (0..1000).map(|_| Event::new().unwrap()).collect();
    let v: Vec<&dyn Waitable> = many.iter().map(|e| e as _).collect();
    costs("1000 events", || {
        select(&v, Duration::from_secs(2)).unwrap();
    });
    costs("100 events", || {
        select(&v[..100], Duration::from_secs(2)).unwrap();
    });
}
fn c() {
    let p = spawn(|| for_ever());
    let e = Event::new().unwrap();
    costs("mixed", || {
        select(&[&e, &p], Duration::from_secs(2)).unwrap();
    });
    costs("process", || {
        select(&[&p], Duration::from_secs(2)).unwrap();
    });
    kill(&p);
    assert!(select(&[&e, &p], Duration::from_secs(2)).unwrap().contains(1))
}
fn d() {}
fn costs(w: &str, f: impl Fn()) {
    let b = cpu_seconds();
    let s = std::time::Instant::now();
    f();
    println!("{w}: {:.4} %", (cpu_seconds() - b) / s.elapsed().as_secs_f64() * 100.0);
}
