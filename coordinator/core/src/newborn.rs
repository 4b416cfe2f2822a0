//! Newborns: nodes that have nothing in their log but the entry of their birth, and how a node that
//! lost its log becomes one again. Rules beside Raft's own, the same in the consensus shell and in the
//! deterministic world.
//!
//! Not here: how a log is kept, and what is written at birth.

/// Whether a node that starts has lost its log: it was cut beyond what the snapshot covers. Each
/// argument is the last entry concerned; none = there is no such thing.
///
/// Raft asks for the cut and the snapshot at once when a snapshot is installed, and a crash in
/// between may leave the one without the other. Such a node throws away what is left of its log, and
/// is a newborn: it neither votes ([`newborn_refuses`]) nor applies anything until a leader has
/// filled its log. Its own vote is kept, so that it does not vote twice in a term.
#[must_use]
pub fn log_is_lost<Entry: Ord>(cut: Option<Entry>, covered: Option<Entry>) -> bool {
    cut > covered
}

/// Whether a voter must refuse a candidate because it may have lost its disk: its own log has
/// nothing but the entry of its birth, and the candidate's has more.
///
/// At birth all logs are like this; but a node that lost its disk looks the same, and has forgotten
/// what it acknowledged and whom it voted for. Its vote could elect a node that lacks committed
/// entries (I4). It votes again once a leader has filled its log. (The price: a node that was never
/// reached by any leader is no help in electing one.)
#[must_use]
pub fn newborn_refuses(own_last_index: Option<u64>, candidate_last_index: Option<u64>) -> bool {
    let candidate_has_more = candidate_last_index.is_some_and(|index| index > 0);
    own_last_index.is_none_or(|index| index == 0) && candidate_has_more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_was_cut_beyond_its_snapshot_is_lost() {
        assert!(log_is_lost(Some(8), Some(7)));
        assert!(log_is_lost(Some(8), None), "there is no snapshot");
    }

    #[test]
    fn a_log_that_was_cut_where_a_snapshot_covers_it_is_whole() {
        assert!(!log_is_lost(Some(7), Some(7)));
        assert!(!log_is_lost(Some(6), Some(7)));
        assert!(!log_is_lost(None, Some(7)), "it was never cut");
        assert!(!log_is_lost::<u64>(None, None));
    }

    #[test]
    fn a_voter_whose_log_is_empty_does_not_elect_one_whose_log_is_not() {
        assert!(newborn_refuses(Some(0), Some(7)));
        assert!(newborn_refuses(None, Some(7)));
        assert!(!newborn_refuses(Some(0), Some(0)));
        assert!(!newborn_refuses(Some(3), Some(7)));
    }
}
