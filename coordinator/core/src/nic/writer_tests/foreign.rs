//! A NicWriter among answers that make no sense: it neither panics nor runs wild, and what it
//! writes is always bound to the document that it read.

use foreign_bytes::{azure, body, cases, word};
use proptest::prelude::*;

use super::*;

/// What happens to it.
#[derive(Clone, Debug)]
enum Happening {
    /// An answer to whatever was asked.
    Answer(u16, BTreeMap<String, String>, Value),
    /// None.
    Fault(bool),
    /// Time goes by.
    Later(u64),
    /// Others wishes.
    Want(Vec<u8>, bool),
    /// A seal is wanted.
    Seal,
    /// The VIP moves on.
    Bump(u8),
    /// A quorum round fails.
    NoRound,
}

fn answer() -> impl Strategy<Value = Happening> {
    let status = prop_oneof![
        5 => Just(200_u16), 2 => 200..=202_u16,
        2 => prop::sample::select(&[400_u16, 401, 403, 404, 409, 412, 429, 500, 503][..]),
        1 => any::<u16>(),
    ];
    let header = prop::sample::select(&["azure-asyncoperation", "retry-after", "location"][..]);
    let headers = prop::collection::btree_map(header.prop_map(str::to_owned), word(), 0..3);
    let body = prop_oneof![4 => body(azure::nics()), 2 => body(azure::operations())];
    (status, headers, body)
        .prop_map(|(status, headers, body)| Happening::Answer(status, headers, body))
}

fn happening() -> impl Strategy<Value = Happening> {
    let lasts = prop::collection::vec(110..=114_u8, 0..4);
    prop_oneof![
        10 => answer(),
        1 => any::<bool>().prop_map(Happening::Fault),
        3 => prop_oneof![0..5_000_u64, Just(400_000)].prop_map(Happening::Later),
        3 => (lasts, any::<bool>()).prop_map(|(lasts, wanted)| Happening::Want(lasts, wanted)),
        1 => Just(Happening::Seal),
        1 => (110..=114_u8).prop_map(Happening::Bump),
        1 => Just(Happening::NoRound),
    ]
}

/// A NicWriter with what it has asked for.
struct Wild {
    bench: Bench,
    /// The request that waits for its answer.
    open: Option<HttpRequest>,
    round: bool,
    /// The ETag and the list of the last document that was read.
    read: Option<(String, usize)>,
}

impl Wild {
    fn take(&mut self, effects: Vec<NicEffect>) {
        for effect in effects {
            match effect {
                NicEffect::Http(request) => self.ask(request),
                NicEffect::Round => {
                    assert!(!self.round && self.open.is_none(), "two things at once");
                    self.round = true;
                }
                NicEffect::Operation { news, .. } => {
                    assert!(news.status.len() <= 200, "goes into the log: {}", news.status);
                }
            }
        }
    }

    fn ask(&mut self, request: HttpRequest) {
        assert!(self.open.is_none() && !self.round, "one request at a time: {request:?}");
        if request.method != Method::Get {
            let (etag, configs) = self.read.as_ref().expect("a write needs a document");
            assert_eq!(request.headers.get("if-match"), Some(etag), "compare and swap (I2)");
            assert!(request.send_before.is_some(), "a write has a window (I7)");
            let list =
                request.body.as_ref().and_then(|body| body.pointer("/properties/ipConfigurations"));
            let left = list.and_then(Value::as_array).map(Vec::len);
            assert!(request.method == Method::Patch || left > Some(0) || *configs == 0, "I3");
        }
        self.open = Some(request);
    }

    fn answer(&mut self, result: HttpResult) {
        let Some(request) = self.open.take() else { return };
        if let (Ok(answer), true) = (&result, request.path.starts_with(NIC))
            && let Ok(document) = crate::nic::NicDocument::new(answer.body.clone())
            && request.method == Method::Get
            && answer.status == 200
        {
            self.read = Some((document.etag().to_owned(), document.configs().count()));
        }
        let effects = self.bench.writer.on_http(self.bench.now, request.id, result);
        self.take(effects);
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Answer(status, headers, body) => {
                self.answer(Ok(HttpAnswer { status, headers, body }));
            }
            Happening::Fault(sent) => self.answer(Err(match sent {
                true => HttpFault::Unknown("x".into()),
                false => HttpFault::NotSent("x".into()),
            })),
            Happening::Later(ms) => self.bench.later(ms),
            Happening::Want(lasts, true) => self.bench.want_present(&lasts),
            Happening::Want(lasts, false) => {
                let wants: Vec<_> =
                    lasts.iter().map(|last| absent(*last, self.bench.phase(*last))).collect();
                self.bench.want(&wants);
            }
            Happening::Seal => self.bench.want_seal(110),
            Happening::Bump(last) => self.bench.bump(last),
            Happening::NoRound => {
                if core::mem::take(&mut self.round) {
                    let next = &mut self.bench.next;
                    let effects = self.bench.writer.on_round(self.bench.now, None, next);
                    self.take(effects);
                }
            }
        }
        self.look();
        let effects = self.bench.tick();
        self.take(effects);
        if core::mem::take(&mut self.round) {
            let effects = self.bench.round();
            self.take(effects);
        }
    }

    fn look(&self) {
        let (writer, now) = (&self.bench.writer, self.bench.now);
        for last in 110..=114 {
            let _ = (writer.lists(ip(last)), writer.next_attempt(ip(last)));
            if let Some(problem) = writer.problem(ip(last)) {
                assert!(problem.text.len() <= 2_000, "goes into the log");
            }
        }
        let _ = (writer.is_cleared(now), writer.is_gone(), writer.nic_problem());
        let _ = writer.wake_in(now);
    }
}

#[test]
fn an_operation_url_that_serves_a_page_is_given_up() {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    bench.reads(nic("1", &[]));
    assert_eq!(bench.tick(), vec![NicEffect::Round]);
    let _put = one_request(bench.round());
    let _ = bench.answer(accepted_with(URL));
    for _ in 0..6 {
        bench.later(5_000);
        let _ = bench.polls(ok(200, json!("<html>busy</html>")));
    }
    bench.later(5_000);
    bench.reads(nic("2", &[110]));
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn no_sequence_of_answers_unsettles_the_nic_writer(
        happenings in prop::collection::vec(happening(), 1..40),
    ) {
        let mut wild = Wild { bench: Bench::new(), open: None, round: false, read: None };
        wild.bench.want_present(&[110]);
        for happening in happenings {
            wild.happens(happening);
        }
    }

    #[test]
    fn an_operation_that_is_answered_with_nonsense_is_given_up(nonsense in body(azure::nics())) {
        // A word that nobody knows may be one of a later version: it is waited for.
        prop_assume!(!nonsense.get("status").is_some_and(Value::is_string));
        let mut bench = Bench::new();
        bench.want_present(&[110]);
        bench.reads(nic("1", &[]));
        assert_eq!(bench.tick(), vec![NicEffect::Round]);
        let _put = one_request(bench.round());
        let _ = bench.answer(accepted_with(URL));
        for _ in 0..1_000 {
            bench.later(5_000);
            let effects = bench.tick();
            let Some(NicEffect::Http(request)) = effects.first() else { continue };
            if request.path.starts_with(NIC) {
                return Ok(());
            }
            let _ = bench.answer(ok(200, nonsense.clone()));
        }
        prop_assert!(false, "the NIC is never read again");
    }
}
