//! What a `Ring` promises, inside one process and between several.

#[path = "ring/closing.rs"]
mod closing;
mod common;
#[path = "ring/death.rs"]
mod death;
#[path = "ring/items.rs"]
mod items;
#[path = "ring/kit.rs"]
mod kit;
#[path = "ring/marks.rs"]
mod marks;
#[path = "ring/messages.rs"]
mod messages;
#[path = "ring/opening.rs"]
mod opening;
#[path = "common/options.rs"]
mod options;
#[path = "ring/overwriting.rs"]
mod overwriting;
#[path = "ring/places.rs"]
mod places;
#[path = "common/probe.rs"]
mod probe;
#[path = "ring/roles.rs"]
mod roles;
#[path = "ring/sight.rs"]
mod sight;
#[allow(dead_code)] // part of it is for others
#[path = "lab/view.rs"]
mod view;
#[path = "ring/waiting.rs"]
mod waiting;

use closing::*;
use death::*;
use items::*;
use marks::*;
use messages::*;
use opening::*;
use overwriting::*;
use places::*;
use roles::*;
use sight::*;
use waiting::*;

fn main() {
    common::main(tests![
        items_of_odd_sizes_go_round_in_order: 60,
        many_items_go_in_as_far_as_there_is_room,
        slices_are_contiguous_across_the_seam,
        nothing_is_a_slice_too,
        a_full_ring_refuses_in_time_and_is_unchanged,
        an_empty_ring_refuses_in_time,
        what_a_child_pushed_comes_in_order_and_outlives_it,
        a_push_that_has_returned_is_seen_by_everybody: 60,
        a_child_sees_the_ring_empty_and_then_not,
        six_pushes_of_mixed_forms_fill_a_ring_of_six,
        a_producer_ends_with_2_mb_in_the_ring_and_nobody_reading,
        order_and_number_are_kept_between_two_processes_at_full_speed: 120,
        a_ring_that_fails_when_full_does_not_wait,
        calls_for_slices_wait_or_fail_as_the_ring_is_told,
        slices_wait_for_the_other_end,
        what_is_pushed_together_is_seen_together: 60,
        the_ends_work_in_threads_of_their_own: 60,
        extending_a_closed_ring_panics,
        messages_of_every_length_come_whole_and_in_order,
        a_message_that_is_too_long_changes_nothing,
        messages_go_through_between_two_processes_at_full_speed: 60,
        a_stream_is_read_in_parts_as_it_was_written,
        lines_go_through_between_two_processes,
        a_stream_says_why_it_cannot_go_on,
        a_reservation_refuses_what_is_beyond_it,
        a_reservation_that_is_dropped_pushes_nothing,
        a_claim_refuses_what_is_beyond_it,
        items_that_are_given_back_come_again_marked_and_first,
        a_panic_keeps_what_was_claimed,
        copies_of_a_reservation_and_a_claim_in_a_child_do_nothing,
        what_a_dead_consumer_had_claimed_keeps_its_mark_until_it_is_consumed,
        a_message_that_was_read_in_part_comes_again_marked,
        what_is_given_back_at_most_once_is_not_what_a_dead_consumer_had,
        a_closed_ring_drains_and_then_says_so,
        closing_wakes_who_sleeps,
        a_reservation_that_outlives_the_close_is_refused_and_comes_back,
        a_push_that_races_with_a_close_says_what_happened: 120,
        a_push_that_races_with_a_close_says_what_happened_where_it_overwrites: 60,
        a_ring_that_is_seen_closed_takes_no_more: 60,
        an_iterator_ends_where_the_ring_does,
        the_oldest_items_go_and_each_is_counted,
        a_message_that_a_buffer_was_too_short_for_may_still_be_overwritten,
        items_of_strict_alignment_are_overwritten_as_others_are,
        messages_that_are_pushed_together_overwrite_together_or_not_at_all,
        a_reservation_longer_than_an_overwriting_ring_takes_is_refused,
        a_slow_reader_gets_whole_items_in_order: 60,
        a_timed_pop_ends_in_time_however_fast_the_ring_is_overwritten: 60,
        each_role_has_one_holder,
        a_batch_of_nothing_takes_the_role,
        whoever_comes_after_the_dead_goes_on,
        a_handle_that_was_not_used_holds_nothing,
        the_ends_of_a_ring_that_follows_them_are_its_end,
        a_killed_producer_is_told_of_and_followed: 60,
        a_killed_consumer_is_told_of_and_followed: 60,
        handles_cross_a_fork_and_each_side_uses_its_end,
        an_inherited_handle_takes_its_parents_place_when_that_has_died,
        a_participant_too_many_is_told_so,
        a_ring_is_opened_by_name_by_descriptor_and_beside_other_objects,
        opening_as_another_type_names_both,
        a_ring_that_is_removed_works_on_and_makes_room_when_it_is_closed,
        open_or_create_by_several_at_once_makes_one_ring: 60,
        bad_options_are_errors_and_leave_nothing,
        a_damaged_plan_is_not_opened,
        damaged_cursors_are_errors,
        a_damaged_length_is_an_error,
        a_sleeper_is_woken_by_what_it_waits_for: 60,
        pushes_and_pops_make_no_system_call_unless_somebody_sleeps,
        waiting_costs_next_to_nothing: 60,
        cancelling_ends_a_push_and_a_pop,
        a_stopped_peer_keeps_nobody_from_a_try: 60,
        no_wake_up_is_lost_on_one_processor: 300,
        no_wake_up_is_lost_on_two_processors: 300,
        items_claimed_by_consumers_killed_at_random_are_never_lost: 120,
        items_popped_by_consumers_killed_at_random_are_lost_with_them_at_most: 120,
        messages_of_processes_killed_at_random_are_never_lost: 120,
        rings_that_overwrite_stay_whole_when_processes_are_killed_at_random: 300,
    ])
}
