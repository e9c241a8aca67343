//! After its first run a session allocates nothing.

use lowbit_ir::{Customs, Type};
use lowbit_kernels::pool::MAX_F32;
use lowbit_kernels::{elementwise, gemm, rows};
use lowbit_runtime::memory::Aligned;
use lowbit_runtime::program::{
    FMatMul, Gather, Link, Links, LinksFrom, LinksTo, Map, MapFn, Other, Pool, PoolKind, Reduce, Rows, RowsFn,
    RowsFrom, RowsTo, Window,
};
use lowbit_runtime::{Isa, Kind, Parts, Place, Pool as Threads, Port, Program, Session, Step};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator; counting touches no memory of its blocks.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on; so below.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A chain of the steps that need scratch, coordinates and pointers: product, pool, gather, rows, map, functions that
/// follow one another, and a reduction.
fn chain() -> Vec<Kind> {
    let at = |i: usize| Place::Arena(i * 1024);
    let product = FMatMul {
        row: &gemm::F32[0],
        a: at(0),
        b: at(0),
        trans_b: true,
        batch: vec![(0, 0)],
        m: 8,
        k: 8,
        n: 8,
        bias: Place::Const(0),
        y: at(1),
        clamp: (-1e9, 1e9),
    };
    let window = Window { input: [8, 8], output: [8, 8], kernel: [3, 3], pads: [1, 1], ..Window::dense(64, 4) };
    let kind = PoolKind::MaxF32(&MAX_F32[0]);
    let table = |step: usize| (0..8).map(|i| i * step).collect();
    vec![
        Kind::FMatMul(product),
        Kind::Pool(Pool { kind, window, channels: 1, x: at(1), y: at(2) }),
        Kind::Gather(Gather {
            x: at(2),
            x_bytes: 256,
            y: at(3),
            tables: vec![table(4), table(32)],
            run: 4,
            step: None,
        }),
        Kind::Rows(Rows {
            f: RowsFn::Softmax(&rows::SOFTMAX[0]),
            from: RowsFrom::Float,
            to: RowsTo::Float,
            x: at(3),
            y: at(4),
            rows: 8,
            n: 8,
        }),
        Kind::Map(Map { f: MapFn::Clamp(&elementwise::CLAMP[0], 0.0, 1.0), x: at(4), y: at(5), n: 64 }),
        Kind::Links(Links {
            from: LinksFrom::Float,
            x: at(4),
            links: vec![
                Link::Clamp(&elementwise::CLAMP[0], 0.0, 1.0),
                Link::Binary {
                    row: &elementwise::BINARY[0],
                    f: elementwise::BinaryFn::Add,
                    other: Other::Full(at(5)),
                    other_first: false,
                },
            ],
            to: LinksTo::Float,
            y: at(6),
            rows: 8,
            n: 8,
            block: 4,
        }),
        Kind::Reduce(Reduce { row: &rows::REDUCE[0], f: rows::ReduceFn::Max, x: at(6), y: at(7), rows: 8, n: 8 }),
    ]
}

#[test]
fn a_session_allocates_nothing_after_its_first_run() {
    let port = |at: usize| Port { name: "x".into(), ty: Type::f32(vec![8, 8]), place: Place::Arena(at) };
    let steps = chain().into_iter().map(|kind| Step { name: "step".into(), kind, macs: 0 }).collect();
    let (consts, customs) = (Aligned::zeroed(64).unwrap(), Customs::default());
    let isa = Isa::named("scalar").unwrap();
    let program = Program::new(Parts {
        name: "p".into(),
        isa,
        steps,
        arena: 8192,
        consts,
        inputs: vec![port(0)],
        outputs: vec![port(5 * 1024)],
        customs,
        max_memory: usize::MAX,
    });
    let program = program.unwrap();
    for threads in 1..=2 {
        let pool = Arc::new(Threads::new(threads).unwrap());
        // A thread that starts allocates for itself, so all have to be there before anything is counted.
        let came = AtomicUsize::new(0);
        pool.run(&|_| {
            came.fetch_add(1, Ordering::Relaxed);
            while came.load(Ordering::Relaxed) < threads {
                std::thread::yield_now();
            }
        });
        let mut session = Session::with_pool(program.clone(), pool).unwrap();
        let mut times = Vec::new();
        session.execute().unwrap();
        session.profile(&mut times).unwrap();
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for _ in 0..50 {
            session.input_mut(0).unwrap().fill(1);
            session.execute().unwrap();
            session.profile(&mut times).unwrap();
            assert_eq!(session.output(0).unwrap().len(), 256);
        }
        assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), before, "{threads} threads");
    }
}
