//! clawinit as a user runs it, in real PID namespaces.
//!
//! `cargo test --test it` runs all; a word behind `--` picks tests by name. `CLAWINIT_BIN` names
//! another binary to test than the one that cargo has just built. What the tests start is this
//! binary again, in one of the roles of `probe.rs`.

mod assault;
mod attack;
mod harness;
mod launch;
mod probe;
mod probe_notify;
mod schema;
mod sys;

mod census;
mod check;
mod costs;
mod drop_in;
mod exit_codes;
mod exporter;
mod faults;
mod graces;
mod health;
mod logging;
mod page;
mod readiness;
mod reaping;
mod report;
mod restarting;
mod security;
mod signals;
mod sockets;
mod starting;
mod status;
mod stopping;
mod sweeping;
mod terminal;
mod tidy;
mod usage;
mod verbs;

use libtest_mimic::{Arguments, Trial};
use std::sync::{PoisonError, RwLock};

/// Tests that measure time have the machine for themselves; the others share it.
static MACHINE: RwLock<()> = RwLock::new(());

/// A test that may run beside others.
fn shared(name: String, test: fn()) -> Trial {
    Trial::test(name, move || {
        let _others = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
        test();
        Ok(())
    })
}

/// A test that measures time.
fn alone(name: String, test: fn()) -> Trial {
    Trial::test(name, move || {
        let _nobody = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
        test();
        Ok(())
    })
}

/// Lists the tests of a module: `tests!(list, module; shared: a, b; alone: c)`. The compiler tells
/// of a test that is in no list, as of any function that nobody calls.
macro_rules! tests {
    ($list:ident, $module:ident; shared: $($shared:ident),* ; alone: $($alone:ident),*) => {
        $($list.push(shared(
            format!("{}::{}", stringify!($module), stringify!($shared)),
            $module::$shared,
        ));)*
        $($list.push(alone(
            format!("{}::{}", stringify!($module), stringify!($alone)),
            $module::$alone,
        ));)*
    };
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "probe") {
        probe::run(&words[1..]);
    }
    harness::take_interrupts();
    let arguments = Arguments::from_args();
    let mut all = Vec::new();
    tests!(all, exit_codes;
        shared:
            every_exit_code_of_the_child_is_clawinits_own,
            a_death_by_signal_is_reported_as_128_and_its_number,
            a_death_by_signal_is_named_in_the_log,
            success_codes_are_reported_as_zero,
            all_codes_listed_but_one_leave_that_one_alone,
            a_stop_reports_the_childs_own_code_in_every_kill_mode,
            a_child_that_leaves_with_the_restart_code_when_stopped_has_stopped,
            the_stop_exit_code_replaces_what_a_stop_in_time_reports,
            the_stop_exit_code_says_nothing_of_other_ends,
            a_child_that_dies_together_with_an_orphan_keeps_its_code,
            a_child_that_had_to_be_killed_is_137;
        alone:
    );
    tests!(all, signals;
        shared:
            every_forwardable_signal_reaches_the_child_in_order,
            every_signal_is_forwarded_by_one_that_is_not_pid_1,
            real_time_signals_keep_their_number_value_and_order,
            a_stop_signal_is_delivered_once_and_nothing_with_it,
            a_forwarded_signal_ends_a_child_with_default_actions,
            usr1_is_like_any_other_when_nothing_restarts_on_it,
            a_map_rewrites_what_it_names_and_nothing_else,
            the_child_starts_with_the_mask_and_the_ignored_set_of_the_caller,
            a_restarted_child_starts_with_the_callers_mask_too,
            an_inherited_ignored_sigchld_hangs_nothing,
            fatal_signals_from_outside_do_not_end_clawinit,
            a_sigpipe_of_its_own_is_not_forwarded,
            a_sigpipe_that_somebody_sent_is_forwarded,
            a_child_that_may_not_be_signalled_is_a_warning_at_most,
            a_child_that_may_not_be_killed_is_said_to_be_one,
            a_sigterm_once_blocked_is_never_lost,
            a_sigterm_from_the_first_instruction_on_is_never_lost,
            a_sigterm_at_any_time_ends_one_that_is_not_pid_1,
            the_sender_of_a_request_is_told,
            the_parents_death_brings_the_signal_that_was_asked_for;
        alone:
    );
    tests!(all, readiness;
        shared:
            a_child_that_is_not_ready_in_time_has_crashed,
            a_child_that_gives_no_sign_of_life_gets_the_watchdogs_signal_and_then_sigkill,
            signs_of_life_keep_a_child_for_longer_than_the_watchdogs_time,
            a_child_that_says_itself_that_it_failed_is_not_waited_for,
            an_extension_saves_a_child_from_sigkill,
            a_start_is_extended_up_to_its_maximum,
            a_restart_in_place_is_done_when_the_same_process_is_ready_again,
            a_restart_in_place_that_does_not_come_about_is_one_by_sigkill,
            crashes_are_forgiven_by_the_time_that_a_child_was_ready_and_not_by_its_age,
            the_childs_own_processes_are_heard_and_those_that_it_left_only_where_they_are_the_program,
            a_url_that_answers_makes_a_child_ready_that_says_nothing,
            whoever_has_started_clawinit_is_told_what_the_child_says,
            a_sigio_that_somebody_sends_is_forwarded_all_the_same,
            a_child_that_was_frozen_with_clawinit_has_its_time_anew,
            the_last_words_of_a_child_are_heard_before_its_end,
            a_child_that_says_again_and_again_that_it_ends_is_told_once_and_has_its_grace,
            a_child_that_restarts_by_its_code_is_no_end_for_who_has_started_clawinit,
            the_line_of_a_start_that_took_too_long_has_what_the_url_answered;
        alone:
    );
    tests!(all, sockets;
        shared:
            each_generation_gets_them_from_descriptor_3_and_its_own_pid,
            who_connects_while_no_generation_accepts_is_answered_by_the_next,
            a_stop_frees_the_port_as_soon_as_the_child_lets_it_go,
            who_will_be_answered_by_nobody_any_more_is_refused_during_the_sweep,
            a_port_that_is_taken_is_an_error_that_names_who_has_it,
            a_port_that_needs_privilege_says_which,
            a_path_that_somebody_listens_on_is_an_error_that_names_the_owner,
            more_sockets_than_descriptors_are_refused_with_the_limit_to_raise,
            something_that_was_handed_in_where_they_belong_is_an_error,
            a_child_that_does_not_care_for_them_or_closes_them_takes_them_from_nobody,
            no_helper_of_clawinits_own_has_them,
            a_port_that_clawinit_keeps_open_is_no_port_held_by_leftovers,
            three_hundred_restarts_with_sockets_and_readiness_grow_nothing;
        alone:
    );
    tests!(all, reaping;
        shared:
            a_thousand_orphans_of_three_generations_are_all_reaped,
            no_zombie_is_left_while_the_child_runs,
            orphans_that_die_in_one_moment_are_all_reaped,
            as_a_subreaper_orphans_are_reaped_too,
            without_the_subreaper_orphans_go_to_pid_1,
            an_inherited_subreaper_bit_is_no_reason_to_complain,
            an_orphan_of_a_process_from_outside_is_reaped,
            a_zombie_whose_parent_lives_disturbs_nothing,
            the_child_leads_a_group_of_its_own;
        alone:
            a_dead_leader_with_living_threads_is_no_busy_loop,
            nothing_wakes_it_while_nothing_happens
    );
    tests!(all, stopping;
        shared:
            a_second_term_is_forwarded,
            each_stop_signal_stops,
            stop_on_names_the_signals_that_stop,
            the_stop_signal_is_what_the_child_is_sent,
            a_second_stop_signal_ends_the_stop_delay,
            a_child_that_leaves_during_the_stop_delay_ends_it,
            a_stopped_child_still_stops_by_its_own_handler,
            a_child_that_is_not_stopped_sees_no_cont,
            stop_beats_a_restart_that_is_under_way,
            a_stop_and_a_restart_in_one_moment_are_a_stop,
            a_restart_request_during_a_stop_is_no_restart,
            mixed_tells_the_child_alone_and_its_group_afterwards,
            in_mixed_a_worker_sees_nothing_while_the_child_drains,
            group_tells_the_whole_group,
            in_group_mode_a_daemon_is_swept_afterwards,
            process_mode_touches_nobody_but_the_child,
            workers_of_a_parent_that_leaves_at_once_may_finish,
            a_platform_grace_that_is_too_short_is_warned_of,
            every_option_can_come_from_the_environment,
            a_restart_request_during_the_stop_delay_is_no_restart,
            a_process_that_keeps_the_port_is_named,
            a_child_that_stops_itself_after_it_was_told_is_woken;
        alone:
            sigkill_comes_at_the_deadline_and_never_before_it_fifty_times,
            second_term_does_not_move_the_deadline,
            the_stop_delay_comes_before_the_child_is_told_and_before_the_grace,
            the_stop_deadline_covers_the_sweep,
            the_sweep_grace_ends_the_sweep_before_the_deadline,
            a_stop_ends_as_soon_as_the_last_process_has_gone,
            a_stop_during_the_crash_delay_exits_at_once_with_the_last_code,
            a_child_that_left_its_group_is_told_and_killed_itself
    );
    tests!(all, restarting;
        shared:
            usr1_saves_and_restarts_a_thousand_times_without_growth,
            the_restart_code_brings_a_new_generation,
            a_restart_code_too_soon_waits_and_counts_like_a_crash,
            restart_codes_can_be_chosen_and_zero_be_one,
            the_restart_mode_says_what_brings_a_child_back,
            no_restart_codes_end_it_in_every_mode,
            one_crash_over_the_limit_exits_with_the_childs_code,
            a_child_that_leaves_with_0_again_and_again_is_no_success,
            restarts_asked_for_by_signal_never_count,
            after_a_restart_request_any_exit_leads_to_the_next_generation,
            a_child_that_dies_of_the_restart_signal_has_restarted,
            requests_during_a_restart_are_folded_into_it,
            a_request_during_the_crash_delay_starts_the_child_at_once,
            the_signals_of_a_restart_can_be_chosen,
            a_stopped_child_is_woken_for_a_restart,
            a_leftover_that_holds_the_port_is_gone_before_the_next_generation_binds_it,
            leftovers_are_swept_before_a_restart_by_code_too,
            the_child_knows_its_generation_its_code_and_whom_to_signal,
            a_command_that_is_missing_at_a_restart_is_tried_again,
            a_stop_while_starts_fail_exits,
            a_program_that_is_being_written_is_tried_again_at_first_start,
            a_success_code_is_no_crash,
            in_group_mode_the_whole_group_is_told_to_restart,
            a_delay_over_the_default_maximum_is_waited_for;
        alone:
            crash_delays_double_up_to_the_maximum,
            a_child_that_does_not_leave_for_a_restart_is_killed_and_restarted,
            the_restart_grace_is_the_stop_grace_where_it_is_not_said,
            a_stop_during_the_sweep_for_a_restart_starts_nothing,
            the_restart_deadline_covers_the_sweep,
            crashes_outside_of_the_window_do_not_count,
            a_generation_that_lived_long_enough_resets_the_delay
    );
    tests!(all, sweeping;
        shared:
            everything_the_child_left_is_told_and_waited_for,
            what_a_dying_leftover_hands_over_is_swept_too,
            a_subreaper_leaves_no_orphan_behind,
            a_process_from_outside_is_never_touched,
            a_process_from_outside_keeps_no_stop_waiting,
            exit_when_all_stays_for_what_goes_on,
            exit_when_all_leaves_with_the_last_process,
            exit_when_all_forwards_other_signals_to_what_is_left,
            a_stopped_leftover_is_woken_and_no_other,
            a_group_that_was_told_something_else_is_asked_to_end_before_it_is_killed,
            who_joins_the_group_after_it_was_told_is_told_in_the_sweep,
            a_stopped_member_of_the_group_is_woken_in_the_sweep,
            a_chain_of_successors_does_not_flood_the_log;
        alone:
            a_deaf_leftover_is_killed_after_the_sweep_grace_when_the_child_left_by_itself,
            without_proc_leftovers_are_swept_all_the_same,
            exit_when_all_still_has_a_deadline,
            a_stop_during_the_sweep_of_an_exit_keeps_the_stops_time,
            exit_when_all_waits_in_kill_mode_process_and_tells_nobody
    );
    tests!(all, terminal;
        shared:
            a_shell_is_interactive_and_its_exit_ends_the_container,
            control_c_reaches_the_child_and_ends_it_with_130,
            bash_has_job_control,
            without_a_terminal_nothing_is_said_of_it,
            the_hand_over_of_the_terminal_kills_nobody,
            the_child_sees_no_signal_of_the_hand_over_but_a_later_hup,
            every_generation_has_the_terminal,
            a_program_that_reads_the_terminal_at_once_gets_what_is_typed,
            a_terminal_that_is_not_the_controlling_one_is_no_hindrance,
            a_stdin_that_is_no_terminal_is_no_hindrance,
            as_pid_1_it_never_suspends_itself,
            elsewhere_tstp_stops_the_child_and_then_clawinit_and_cont_wakes_both,
            a_terminal_that_goes_away_hangs_nothing,
            a_filter_reads_and_writes_the_terminal,
            a_background_job_of_a_new_namespace_leaves_the_terminal_alone;
        alone:
    );
    tests!(all, starting;
        shared:
            a_missing_command_is_127,
            a_command_that_may_not_be_executed_is_126,
            a_directory_is_126,
            a_garbage_file_is_126,
            a_missing_interpreter_is_127_and_named,
            an_empty_command_is_127,
            a_command_that_looks_like_an_option_is_a_command,
            nothing_behind_the_command_is_read_as_ours,
            stdin_and_stdout_reach_the_command_unharmed,
            the_child_starts_in_the_callers_folder_and_clawinit_sits_in_the_root,
            descriptors_that_were_given_reach_every_generation,
            where_no_restart_can_come_clawinit_keeps_no_copy_of_given_descriptors,
            a_listen_pid_that_named_clawinit_names_the_child,
            a_closed_stdin_or_stdout_is_no_hindrance,
            the_user_option_drops_user_group_and_supplementary_groups,
            a_user_that_cannot_be_taken_is_125_and_starts_nothing,
            it_works_without_root_without_proc_and_with_a_read_only_root,
            it_runs_as_any_pid,
            a_clawinit_under_a_clawinit_takes_nothing_from_the_outer_one,
            a_command_is_looked_up_in_path,
            without_a_command_it_is_a_usage_error,
            the_log_tells_the_childs_pid,
            a_folder_that_was_removed_is_told_and_the_next_generation_starts_in_the_root,
            with_vary_pid_the_child_has_another_pid_at_each_boot,
            vary_pid_is_for_the_first_generation_only,
            the_user_option_takes_who_it_is_already_without_privileges;
        alone:
    );
    tests!(all, drop_in;
        shared:
            a_transparent_name_restarts_on_nothing,
            a_transparent_name_says_nothing,
            a_transparent_name_neither_kills_nor_sweeps,
            a_transparent_name_hands_our_variables_on_untouched,
            init_is_transparent_as_dev_init_only,
            a_symlink_is_as_good_as_a_name,
            the_version_says_tini_version_where_an_engine_asks,
            usage_errors_under_a_transparent_name_are_one,
            the_licence_is_shown,
            tinis_v_repeats_and_changes_nothing_else,
            tini_verbosity_is_as_good_as_flags,
            tinis_e_makes_a_code_a_success,
            tinis_s_reaps_as_a_subreaper_and_w_says_so,
            as_tini_it_warns_where_it_cannot_reap_and_runs_all_the_same,
            tinis_g_signals_the_group,
            tinis_p_is_the_signal_of_the_parents_death,
            dumb_init_signals_the_whole_group,
            dumb_inits_c_signals_the_child_alone,
            dumb_init_tells_the_rest_of_the_group_when_the_child_leaves,
            dumb_init_says_that_a_command_is_missing,
            dumb_inits_help_and_version,
            dumb_inits_diagnostics_go_to_stderr_only,
            dumb_inits_r_refuses_what_it_cannot_do,
            dumb_inits_r_rewrites_and_drops,
            dumb_init_forwards_every_ordinary_signal,
            as_dumb_init_a_shell_has_job_control,
            dumb_init_suspends_itself_with_its_child,
            any_tini_verbosity_runs_the_command,
            a_script_without_a_first_line_is_run_by_sh,
            below_another_pid_1_catatonit_adopts_and_dumb_init_says_nothing;
        alone:
    );
    tests!(all, logging;
        shared:
            every_line_of_the_json_log_is_an_object_with_the_fixed_fields,
            a_command_that_is_not_utf8_is_logged_as_valid_json,
            every_text_line_begins_with_the_name,
            levels_say_more_and_less,
            a_closed_stderr_is_no_hindrance,
            a_full_pipe_never_blocks_it,
            the_childs_stderr_still_blocks,
            a_stderr_that_is_a_file_is_appended_to,
            neither_clawinit_nor_the_child_writes_over_the_other_in_a_file,
            a_stderr_that_is_a_terminal_shows_the_log,
            a_terminal_that_is_held_up_never_blocks_it,
            a_reader_that_has_gone_is_no_hindrance,
            a_full_disk_is_no_hindrance,
            an_unknown_variable_is_a_warning_with_the_nearest_name,
            reaped_zombies_are_told_with_w,
            a_stderr_that_is_the_journal_gets_priorities,
            every_event_of_real_runs_fits_the_schema,
            the_documented_events_are_those_of_the_code;
        alone:
            a_full_pipe_of_another_user_never_blocks_it,
            a_pipe_of_another_user_that_the_child_fills_never_blocks_it
    );
    tests!(all, schema;
        shared:
            what_does_not_fit_a_schema_is_refused,
            the_events_of_readiness_fit_the_schema;
        alone:
    );
    tests!(all, health;
        shared:
            a_right_answer_is_healthy_and_has_one_short_line,
            a_body_of_every_kind_is_read_whole,
            the_request_is_plain_http_and_nothing_gets_into_it,
            another_status_is_told_with_what_came,
            what_is_expected_of_the_body_is_told_when_it_is_not_there,
            foreign_text_is_cut_and_cannot_forge_a_line,
            answers_that_are_none_have_their_line,
            nothing_that_is_sent_uses_up_time_or_memory,
            localhost_needs_no_file_and_no_name_server,
            who_cannot_be_reached_is_told,
            wrong_urls_and_options_have_their_line,
            it_answers_wherever_it_runs;
        alone:
            one_deadline_covers_everything
    );
    tests!(all, check;
        shared:
            every_setting_is_told_with_where_it_comes_from,
            the_settings_it_prints_are_taken_back,
            the_command_is_found_or_what_is_wrong_with_it_told,
            what_will_hurt_is_warned_of,
            the_place_is_looked_at,
            nothing_is_started_and_nothing_written,
            its_text_fits_a_terminal,
            wrong_words_have_their_line;
        alone:
    );
    tests!(all, usage;
        shared:
            every_wrong_value_of_an_option_has_its_line,
            every_wrong_value_of_a_variable_has_its_line,
            an_option_without_its_value_has_its_line,
            an_unknown_option_has_its_line_with_the_nearest_one,
            a_duration_without_a_unit_says_what_to_type,
            a_missing_command_has_its_line,
            a_signal_that_is_to_stop_and_to_restart_has_its_line,
            wrong_short_options_have_their_line,
            right_values_are_taken,
            the_help_names_every_option_and_exits_zero,
            every_help_fits_80_columns,
            version_and_licence_are_printed,
            a_duration_that_is_too_long_is_not_suggested,
            a_delay_over_its_maximum_has_its_line;
        alone:
    );
    tests!(all, report;
        shared:
            a_stop_is_reported_with_its_sender_and_its_time,
            a_sender_inside_is_reported_by_pid_and_uid,
            the_childs_own_end_is_reported_as_such,
            what_had_to_be_killed_is_named,
            restarts_are_counted_by_cause,
            the_restart_limit_is_reported,
            a_command_that_cannot_start_is_reported,
            the_release_of_the_port_is_measured,
            a_report_of_very_much_is_cut_and_stays_json,
            the_documented_fields_are_those_of_the_report,
            an_older_report_is_replaced_whole,
            a_report_that_cannot_be_written_changes_no_exit_code,
            an_end_that_clawinit_asked_for_has_its_cause;
        alone:
    );
    tests!(all, exporter;
        shared:
            it_serves_metrics_status_and_health,
            it_refuses_what_it_does_not_serve,
            open_metrics_goes_to_those_who_prefer_it,
            one_connection_serves_many_requests,
            silent_clients_keep_no_scrape_out_and_are_let_go,
            few_descriptors_keep_no_scrape_out,
            a_killed_exporter_is_started_again,
            a_container_with_an_exporter_ends_with_its_child,
            restarts_keep_the_exporter,
            the_last_scrape_sees_the_stop,
            health_is_503_while_no_generation_runs,
            readiness_is_served_and_health_does_not_depend_on_it,
            a_child_that_fails_is_a_phase_and_is_counted,
            exit_when_all_is_not_held_up_by_it,
            the_sweep_leaves_it_alone,
            a_port_in_use_keeps_nothing_from_running,
            its_lines_are_clawinits_own,
            it_runs_as_the_user,
            it_holds_nothing_that_is_the_childs,
            promtool_has_nothing_to_say_in_any_phase,
            a_port_that_is_watched_is_told;
        alone:
            an_exporter_delays_no_exit,
            nothing_wakes_it_while_nobody_asks,
            ten_thousand_bad_clients_are_not_noticed_by_pid_1
    );
    tests!(all, census;
        shared:
            zombies_and_orphans_are_counted,
            a_dead_leader_with_living_threads_is_no_zombie,
            a_name_cannot_forge_a_sample,
            a_foreign_proc_is_told_and_not_read,
            a_proc_that_hides_others_is_told_and_not_read,
            the_control_groups_pids_are_told_with_their_limit;
        alone:
    );
    tests!(all, page;
        shared:
            the_page_shows_a_running_child,
            a_restart_is_on_the_page_with_who_asked_and_how_the_last_one_ended,
            the_page_tells_how_it_ended_to_whoever_had_it_open,
            orphans_and_leftovers_are_counted,
            a_crash_delay_is_on_the_page,
            nobody_else_can_change_or_cut_the_page,
            the_transparent_names_have_no_page,
            the_child_does_not_get_the_page,
            no_reader_sees_half_of_an_update,
            a_page_of_an_older_or_newer_minor_layout_is_read,
            a_page_of_anything_at_all_is_no_danger;
        alone:
    );
    tests!(all, status;
        shared:
            it_tells_whether_the_child_is_ready_and_what_it_says,
            without_readiness_a_child_that_runs_is_ready_enough,
            a_child_that_fails_is_told_with_the_reason,
            it_tells_in_80_columns_what_runs_and_who_asked,
            its_json_fits_the_schema_in_every_phase,
            it_is_found_by_its_own_child,
            it_is_found_where_pid_1_is_another,
            who_only_holds_the_page_is_not_taken_for_it,
            several_are_listed_and_a_pid_picks_one,
            no_clawinit_is_3,
            a_pid_that_is_no_clawinit_is_5,
            another_user_is_told_whom_to_be,
            older_and_newer_pages_are_read_and_others_are_refused_with_a_way_out,
            a_name_forges_no_line_and_no_json,
            a_watcher_is_told_of_changes_and_of_the_end,
            a_watcher_at_a_terminal_sees_it_in_place,
            the_end_of_a_watch_is_clean;
        alone:
    );
    tests!(all, verbs;
        shared:
            a_restart_waits_until_the_child_is_ready,
            a_restart_in_place_keeps_the_generation,
            a_restart_into_a_child_that_is_not_ready_did_not_happen,
            a_stop_that_the_child_extends_is_shown_with_its_new_deadline,
            a_stop_tells_how_it_went,
            a_stop_from_outside_tells_how_it_went,
            a_stop_that_needed_sigkill_says_so,
            a_stop_under_way_is_waited_for_and_not_repeated,
            a_stop_after_many_restarts_is_told_as_well,
            a_restart_waits_for_a_generation_that_stays,
            a_restart_waits_for_an_answer,
            a_restart_that_never_answers_is_124_and_says_what_came,
            a_restart_into_a_crash_did_not_happen,
            a_restart_into_an_exit_did_not_happen,
            a_restart_that_cannot_start_did_not_happen,
            a_restart_that_a_stop_overtakes_did_not_happen,
            a_restart_during_a_stop_is_refused_at_once,
            a_restart_that_another_one_follows_waits_for_the_last,
            a_restart_in_the_crash_delay_ends_the_delay,
            what_takes_longer_than_the_timeout_is_124_and_goes_on,
            without_a_wait_it_returns_at_once,
            where_no_signal_asks_for_it_the_verb_says_so,
            what_failed_is_json_too,
            a_terminal_shows_a_bar_in_one_line_of_80_columns,
            a_dumb_terminal_gets_lines,
            wrong_words_have_their_line,
            the_help_of_each_verb_fits_80_columns,
            a_verb_needs_clawinits_own_name;
        alone:
    );
    tests!(all, security;
        shared:
            a_child_of_another_user_can_do_nothing_to_it,
            another_user_from_outside_can_do_nothing_to_it,
            no_signal_from_inside_kills_or_freezes_it,
            what_a_child_does_to_itself_and_to_the_place_keeps_no_stop_waiting,
            a_report_writes_over_no_file_of_another_name,
            a_report_waits_for_no_pipe_and_no_device,
            no_text_of_others_forges_a_line_of_the_log,
            every_descriptor_of_its_own_is_close_on_exec,
            the_child_has_what_clawinit_was_given_and_nothing_of_its_own,
            a_verb_signals_the_process_that_it_looked_at_and_no_number,
            the_page_cannot_be_mapped_for_writing,
            no_variable_is_on_the_page_in_the_log_or_in_an_answer,
            a_notification_of_anybody_but_the_child_is_not_heard,
            a_descriptor_that_comes_with_a_notification_is_not_taken,
            a_listening_socket_changes_nothing_that_is_in_its_place,
            every_claim_of_the_security_page_has_its_test,
            the_inventories_of_the_security_page_are_those_of_the_sources;
        alone:
            a_flood_of_signals_keeps_neither_a_stop_nor_an_exit_waiting,
            no_notification_moves_a_deadline_past_the_operators_maximum
    );
    tests!(all, faults;
        shared:
            a_wait_for_signals_that_fails_is_told_and_ends_it,
            an_interrupted_wait_for_the_child_loses_no_code,
            signals_that_cannot_be_blocked_are_told_and_nothing_is_started,
            a_wait_for_signals_that_is_interrupted_for_ever_is_no_busy_loop,
            a_wait_for_the_child_that_fails_once_loses_no_code,
            a_wait_for_children_that_always_fails_is_told_and_ends_it;
        alone:
    );
    tests!(all, costs;
        shared:
            the_system_calls_from_exec_to_the_childs_start_are_those_of_the_page,
            the_system_calls_from_the_childs_exit_to_its_own_are_those_of_the_page,
            at_rest_it_has_one_thread_and_no_descriptor_too_many,
            its_memory_at_rest_is_within_its_budget,
            the_released_binary_is_within_its_budget,
            its_page_faults_at_start_are_within_their_budget;
        alone:
    );
    tests!(all, graces;
        shared:
            every_platforms_grace_is_longer_than_clawinits,
            the_defaults_of_the_graces_are_those_of_the_help,
            a_grace_that_does_not_fit_is_found,
            a_platforms_grace_that_is_deleted_is_found;
        alone:
    );
    tests!(all, tidy;
        shared:
            only_the_kernel_layers_say_unsafe,
            no_file_names_a_folder_of_this_machine,
            no_file_names_a_registry_mirror,
            the_help_the_manual_and_the_readme_list_the_same_options,
            the_trace_page_is_what_the_program_says,
            no_unfinished_work_is_left_in_the_code;
        alone:
    );
    // Only where the machine is known to be able is an absence a fault of somebody.
    let must = std::env::var_os("CLAWINIT_REQUIRE_ENGINES").is_some();
    if let Some(why) = costs::no_strace().filter(|_| !must) {
        println!("system calls cannot be listed here ({why}); tests that do are skipped");
        all = all
            .into_iter()
            .map(|test| {
                let needs = test.name().starts_with("costs::the_system_calls")
                    || test.name().starts_with("security::every_descriptor")
                    || test.name().starts_with("security::a_verb_signals")
                    || test.name().starts_with("security::a_listening_socket");
                test.with_ignored_flag(needs)
            })
            .collect();
    }
    if let Err(why) = harness::namespaces_work() {
        println!("PID namespaces cannot be made here ({why}); tests that need one do not run");
        if !must {
            all = all
                .into_iter()
                .map(|test| {
                    let needs = !["usage::", "tidy::", "graces::"]
                        .iter()
                        .any(|group| test.name().starts_with(group));
                    test.with_ignored_flag(needs)
                })
                .collect();
        }
    }
    libtest_mimic::run(&arguments, all).exit();
}
