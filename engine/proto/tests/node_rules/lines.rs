//! Which memory a node needs next, told to a driver of many.

use super::*;

/// Its own lines are a third of it, each told once; what they point to lies elsewhere.
#[test]
fn a_node_names_the_lines_that_it_needs() {
    let node = acquainted(&["b", "c"]);
    let within = |address: &usize| {
        let start = (&raw const node).addr();
        (start..start + size_of::<Node>()).contains(address)
    };
    let (mut own, mut others) = (Vec::new(), Vec::new());
    node.lines(|address| own.push(address.addr()));
    node.deeper_lines(|address| others.push(address.addr()));
    assert!(own.iter().all(within), "{own:?}");
    assert!((10..40).contains(&own.len()) && own.len() * 64 * 2 < size_of::<Node>());
    let mut lines: Vec<usize> = own.iter().map(|address| address / 64).collect();
    lines.dedup();
    assert_eq!(lines.len(), own.len());
    // A list that was never written has no place yet.
    others.retain(|address| *address > 64);
    assert!(others.len() >= 3 && !others.iter().any(within), "{others:?}");
    assert!(node.contact(id("b")).is_some() && node.contact(id("z")).is_none());
}
