//! Translation of numbers, against a model that keeps every message.

use proptest::prelude::*;

use crate::proxy::numbering::Numbering;

#[test]
fn numbers_that_are_the_same_pass_untouched() {
    let mut numbering = Numbering::default();
    for number in 1..=5 {
        assert_eq!(numbering.pass(number, true), number);
    }
    numbering.settle_same(2, false);
    assert!(numbering.is_same());
    assert_eq!(numbering.take(4, true).origins, [1, 3, 4]);
    assert_eq!(numbering.tell(&[1, 3, 4]), [(4, true)]);
    assert!(numbering.is_same(), "nothing is called differently");
}

#[test]
fn what_is_withheld_is_not_covered_by_a_settlement_of_many() {
    let mut numbering = Numbering::default();
    numbering.pass(1, true);
    numbering.withhold(2, true);
    assert_eq!([numbering.pass(3, true), numbering.pass(4, true)], [2, 3]);
    let taken = numbering.take(3, true);
    assert_eq!(taken.origins, [1, 3, 4]);
    assert_eq!(numbering.tell(&taken.origins), [(1, false), (3, false), (4, false)]);
    assert_eq!(numbering.kept(), 1);
    assert_eq!(numbering.pass(2, true), 4, "it comes after all");
    assert_eq!(numbering.take(4, false).origins, [2]);
    assert_eq!(numbering.tell(&[2]), [(2, false)]);
    assert_eq!(numbering.kept(), 0);
}

#[test]
fn what_was_forged_is_not_told() {
    let mut numbering = Numbering::default();
    assert_eq!([numbering.pass(1, true), numbering.forge(true), numbering.pass(2, true)], [1, 2, 3]);
    let taken = numbering.take(2, false);
    assert!(taken.is_known && taken.origins.is_empty());
    assert!(!numbering.take(2, false).is_known, "it was settled");
    let taken = numbering.take(0, true);
    assert_eq!(numbering.tell(&taken.origins), [(2, true)]);
    assert_eq!(numbering.kept(), 0);
}

#[test]
fn memory_is_that_of_what_is_unsettled() {
    let mut numbering = Numbering::default();
    numbering.forge(true);
    for origin in 1..=100_000 {
        let number = numbering.pass(origin, true);
        let taken = numbering.take(number, false);
        numbering.tell(&taken.origins);
    }
    assert!(numbering.kept() <= 1, "{}", numbering.kept());
}

#[derive(Debug, Clone)]
enum Step {
    Pass,
    AutoAck,
    Withhold,
    Release(prop::sample::Index),
    Forge,
    Settle { at: prop::sample::Index, multiple: bool, told: bool },
    SettleAll,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Pass),
        1 => Just(Step::AutoAck),
        1 => Just(Step::Withhold),
        1 => any::<prop::sample::Index>().prop_map(Step::Release),
        1 => Just(Step::Forge),
        6 => (any::<prop::sample::Index>(), any::<bool>(), prop::bool::weighted(0.9))
            .prop_map(|(at, multiple, told)| Step::Settle { at, multiple, told }),
        1 => Just(Step::SettleAll),
    ]
}

/// A message that the receiver has not settled: its number, and the origin's.
type Handed = (u64, Option<u64>);

proptest! {
    #[test]
    fn both_sides_agree_on_what_is_settled(steps in prop::collection::vec(step(), 0..200)) {
        let mut numbering = Numbering::default();
        let (mut next, mut last) = (0, 0);
        let (mut handed, mut withheld, mut unsettled) = (Vec::<Handed>::new(), Vec::new(), Vec::new());
        for step in steps {
            let mut settle = |numbering: &mut Numbering, handed: &mut Vec<Handed>, number, multiple, told| {
                let is_meant = |it: &Handed| it.0 == number || multiple && (number == 0 || it.0 < number);
                let mut expected: Vec<u64> = handed.iter().filter(|it| is_meant(it)).filter_map(|it| it.1).collect();
                handed.retain(|it| !is_meant(it));
                expected.sort_unstable();
                if told && numbering.is_same() {
                    numbering.settle_same(number, multiple);
                    unsettled.retain(|it| !expected.contains(it));
                    return Ok(());
                }
                let taken = numbering.take(number, multiple);
                prop_assert_eq!(&taken.origins, &expected);
                if told {
                    let before = unsettled.clone();
                    for (number, multiple) in numbering.tell(&taken.origins) {
                        prop_assert!(unsettled.contains(&number), "{} is not unsettled", number);
                        unsettled.retain(|it| *it != number && !(multiple && *it < number));
                    }
                    let left: Vec<u64> = before.into_iter().filter(|it| !expected.contains(it)).collect();
                    prop_assert_eq!(&unsettled, &left);
                }
                Ok(())
            };
            match step {
                Step::Pass | Step::AutoAck => {
                    next += 1;
                    last += 1;
                    let settles = matches!(step, Step::Pass);
                    prop_assert_eq!(numbering.pass(next, settles), last);
                    if settles {
                        handed.push((last, Some(next)));
                        unsettled.push(next);
                    }
                }
                Step::Withhold => {
                    next += 1;
                    numbering.withhold(next, true);
                    withheld.push(next);
                    unsettled.push(next);
                }
                Step::Release(at) if !withheld.is_empty() => {
                    let origin = withheld.remove(at.index(withheld.len()));
                    last += 1;
                    prop_assert_eq!(numbering.pass(origin, true), last);
                    handed.push((last, Some(origin)));
                }
                Step::Forge => {
                    last += 1;
                    prop_assert_eq!(numbering.forge(true), last);
                    handed.push((last, None));
                }
                Step::Settle { at, multiple, told } if !handed.is_empty() => {
                    let number = handed[at.index(handed.len())].0;
                    settle(&mut numbering, &mut handed, number, multiple, told)?;
                }
                Step::SettleAll => settle(&mut numbering, &mut handed, 0, true, true)?,
                Step::Release(_) | Step::Settle { .. } => {}
            }
            prop_assert!(numbering.kept() <= handed.len() + unsettled.len());
        }
    }
}
