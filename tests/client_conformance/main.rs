//! What every adapter of the client port must do, shown against a real broker.
//!
//! The suite is a function over the port ([`conforms`]), so that the next adapter runs the same one. Its checks share
//! one broker and use queues of their own.

// Helpers of tests are not tests to clippy: what it allows in those is allowed here for all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;

mod bench;
mod consuming;
mod ending;
mod publishing;
mod secure;

use bench::Bench;
use lurcher::client::Client;
use lurcher::client::lapin::Lapin;
use lurcher::client::wire::Wire;
use support::{Broker, Wishes};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lapin_conforms() {
    let broker = Broker::start(Wishes::default()).await;
    conforms(&Lapin, &broker).await;
    ending::no_thread_is_left("lapin-io-loop").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wire_conforms() {
    let broker = Broker::start(Wishes::default()).await;
    conforms(&Wire, &broker).await;
}

/// Runs a check and says which one it is: a panic alone would not.
macro_rules! check {
    ($bench:expr, $($room:ident::$check:ident),+ $(,)?) => {
        $(
            eprintln!("{}", stringify!($check));
            $room::$check($bench).await;
        )+
    };
}

async fn conforms(client: &dyn Client, broker: &Broker) {
    let bench = &Bench { client, broker };
    check!(
        bench,
        publishing::one_message_is_confirmed,
        publishing::a_thousand_are_confirmed_once_each,
        publishing::a_full_queue_nacks,
        publishing::returns_are_told_apart_from_confirms,
        publishing::returns_come_without_confirms_too,
        publishing::a_missing_exchange_closes_the_channel_only,
        publishing::what_does_not_fit_is_refused,
        publishing::bodies_of_every_size_arrive_whole,
        publishing::every_property_arrives,
        publishing::dropped_waits_lose_no_settlement,
        publishing::a_dropped_publish_is_settled_all_the_same,
        consuming::the_prefetch_is_honoured,
        consuming::ids_are_read_where_they_are_asked_for,
        consuming::a_channel_s_prefetch_is_shared,
        consuming::one_ack_settles_many,
        consuming::a_requeued_message_comes_back_flagged,
        consuming::a_rejected_message_tells_of_its_death,
        consuming::a_nacked_message_goes_where_it_is_sent,
        consuming::an_ack_of_many_passes_over_what_was_given_back,
        consuming::auto_ack_settles_on_sending,
        consuming::polling_goes_round_the_queues,
        consuming::a_stream_is_read_from_its_offset,
        consuming::queues_of_one_channel_come_in_tag_order,
        consuming::a_deleted_queue_cancels,
        consuming::dropped_waits_lose_no_delivery,
        consuming::dropped_polls_lose_no_delivery,
        consuming::a_bad_ack_closes_the_channel_only,
        consuming::ready_counts_and_knows_what_is_missing,
        consuming::an_exclusive_queue_lives_with_its_connection,
        ending::a_lost_connection_is_noticed_while_idle,
        ending::a_lost_connection_fails_what_is_in_flight,
        ending::what_was_flushed_outlives_a_cut,
        ending::alarms_are_noticed,
        ending::a_blocked_connection_closes_in_time,
        ending::a_refused_login_is_told,
        ending::nothing_listening_is_told,
        ending::an_end_in_the_handshake_is_no_refusal,
        ending::a_silent_peer_is_given_up,
        ending::a_vanished_peer_does_not_hold_up_the_end,
    );
}
