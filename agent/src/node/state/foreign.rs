//! A `holder.redb` that this program did not leave like that: what is spent is read as it was
//! written, or the agent does not start. It is never guessed (I5).

use std::collections::BTreeMap;

use foreign_bytes::{bytes, cases, word};
use proptest::prelude::*;

use super::*;

/// The file that an agent leaves behind.
fn left_behind() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = NodeState::open(dir.path(), &BootId::from("b1")).unwrap();
    let vip = VipName::new("demo").unwrap();
    state.spend(&vip, &[IpAddr::from([10, 5, 0, 110])], Epoch(7)).unwrap();
    state.see(Epoch(9)).unwrap();
    drop(state);
    std::fs::read(dir.path().join("holder.redb")).unwrap()
}

fn rows() -> impl Strategy<Value = BTreeMap<String, u64>> {
    prop::collection::btree_map(word(), any::<u64>(), 0..4)
}

proptest! {
    #![proptest_config(cases(16))]

    #[test]
    fn a_state_file_of_any_bytes_is_refused_or_read(file in bytes(vec![left_behind()])) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("holder.redb"), &file.0).unwrap();
        let _ = NodeState::open(dir.path(), &BootId::from("b2")).map(|_| ());
    }

    #[test]
    fn a_state_file_with_any_records_is_refused_or_read_as_it_is(
        boots in word(), highest in any::<u64>(), addresses in rows(), vips in rows(),
        serving in rows(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (state, _) = NodeState::open(dir.path(), &BootId::from("b1")).unwrap();
        state.write(|transaction| {
            transaction.open_table(WORDS)?.insert(BOOT_KEY, boots.as_str())?;
            transaction.open_table(NUMBERS)?.insert(HIGHEST_EPOCH_KEY, highest)?;
            for (key, epoch) in &addresses {
                transaction.open_table(SPENT_ADDRESSES)?.insert(key.as_str(), epoch)?;
            }
            for (key, epoch) in &vips {
                transaction.open_table(SPENT_VIPS)?.insert(key.as_str(), epoch)?;
            }
            for (key, epoch) in &serving {
                transaction.open_table(SERVING)?.insert(key.as_str(), (*epoch, true))?;
            }
            Ok(())
        }).unwrap();
        drop(state);
        let readable = addresses.keys().all(|key| key.parse::<IpAddr>().is_ok())
            && vips.keys().chain(serving.keys()).all(|key| VipName::new(key).is_ok());
        match NodeState::open(dir.path(), &BootId::from("b2")) {
            Err(error) => {
                prop_assert!(!readable, "{error}");
                prop_assert!(error.to_string().len() <= 2_000);
            }
            Ok((_state, remembered)) => {
                prop_assert!(readable);
                let most = addresses.values().chain(vips.values()).max().copied().unwrap_or(0);
                prop_assert_eq!(remembered.highest_epoch, Epoch(highest.max(most)));
                prop_assert_eq!(remembered.serving.len(), serving.len());
                for (key, epoch) in &addresses {
                    let address: IpAddr = key.parse().unwrap();
                    prop_assert!(remembered.spent.addresses.get(&address) >= Some(&Epoch(*epoch)));
                }
            }
        }
    }
}
