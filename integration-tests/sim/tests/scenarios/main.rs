//! Every attack on the design as a scenario of the deterministic world, replayed step by step.
//!
//! Each of them broke an earlier text of the design. With the fence in place nothing may be
//! violated; where a mutation removes the fence, the same script must end in a violation. Letters
//! as there: `h` the first round (from H13 on in `h13`), `v` the second, `l` the traps in which nothing moves any more.
//! `azure` and `errors` are no attacks: what Azure asks of a move besides, and every way in which it
//! can refuse one; `rights`, what a move may do in Azure, and what happens without. `stops` ends agents and starts them again; `takeover` takes the leader away at every instant of a move.

mod azure;
mod errors;
mod foreign_parts;
mod h;
mod h13;
mod l;
mod rights;
mod stage;
mod stops;
mod takeover;
mod v;
