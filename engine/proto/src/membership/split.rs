//! Buckets that become one more at a time: linear hashing (Litwin 1980).
//!
//! A table that doubles all at once stalls while it does. Here the bucket that is next in turn is
//! split when there are too many members, and merged again when there are too few, so that no
//! member's arrival costs more than one bucket of work.
//!
//! Invariant: with `b` buckets, `2^l <= b < 2^(l+1)`, a hash falls into the bucket of its last
//! `l + 1` bits if there is one, else of its last `l`.

/// The bucket of `hash` among `buckets`, which are at least one, and how many bits of the hash
/// decided that.
pub(crate) fn bucket_of(hash: u32, buckets: usize) -> (usize, u32) {
    let full = buckets.next_power_of_two();
    let (bits, mask) = (full.trailing_zeros(), full - 1);
    let at = hash as usize & mask;
    if at < buckets {
        // One whose sibling does not exist yet holds both halves.
        let whole = at + full / 2 >= buckets && at < full / 2;
        return (at, if whole { bits - 1 } else { bits });
    }
    (at & (mask >> 1), bits - 1)
}

/// The bucket that `bucket` was split from; bucket 0 has been there always.
pub(crate) fn origin(bucket: usize) -> usize {
    assert!(bucket > 0, "the first bucket comes from no other");
    bucket ^ (1 << bucket.ilog2())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_moves_members_from_the_origin_to_the_new_bucket_alone() {
        for buckets in 1..70 {
            for hash in 0..1_024 {
                let (before, _) = bucket_of(hash, buckets);
                let (after, _) = bucket_of(hash, buckets + 1);
                let moved = after == buckets && before == origin(buckets);
                assert!(before < buckets && (after == before || moved), "{hash} of {buckets}");
            }
        }
    }

    #[test]
    fn hashes_share_a_bucket_exactly_when_its_bits_agree() {
        for buckets in 1..40 {
            for a in 0..128u32 {
                let (bucket, bits) = bucket_of(a, buckets);
                for b in 0..128u32 {
                    let agree = (a ^ b).trailing_zeros() >= bits;
                    assert_eq!(agree, bucket_of(b, buckets).0 == bucket, "{a}, {b} of {buckets}");
                }
            }
        }
    }
}
