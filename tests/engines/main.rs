//! clawinit and the gateway in real container engines.
//!
//! `cargo test --test engines` runs all; a word behind `--` picks tests by name. The engines are
//! started by `scripts/engines` where they do not run yet, and ended with it; it also removes
//! whatever a test that was killed has left. An engine that is absent is one line, and its tests
//! count as ignored; with `CLAWINIT_REQUIRE_ENGINES=1` they fail. `CLAWINIT_BIN` and
//! `CLAWINIT_GATEWAY` name the release binaries to test.

mod engine;
mod http;
mod tools;

mod blue_green;
mod compose;
mod deploy;
mod docker;
mod init_path;
mod kubernetes;
mod manifests;
mod openclaw;
mod podman;
mod security;
mod systemd;
mod troubleshooting;

mod monitoring;
mod rules;

use libtest_mimic::{Arguments, Failed, Trial};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// A module's tests and the engine that they need.
struct Group {
    /// The first word of their names.
    name: &'static str,
    /// Why they cannot run here.
    absent: fn() -> Option<String>,
    tests: Vec<(&'static str, fn())>,
}

/// The tests of a module. The compiler tells of a test that is in no list, as of any function
/// that nobody calls.
macro_rules! group {
    ($module:ident: $($test:ident,)*) => {
        Group {
            name: stringify!($module),
            absent: $module::absent,
            tests: vec![$((stringify!($test), $module::$test as fn()),)*],
        }
    };
}

fn groups() -> Vec<Group> {
    let mut groups = vec![
        group! { rules:
            promtool_accepts_rules_and_configuration,
            each_alert_fires_in_its_case_and_stays_quiet_in_another,
            each_alert_says_how_bad_it_is_and_what_to_type_next,
            every_expression_of_the_dashboard_parses,
            rules_and_dashboard_name_documented_metrics_only,
            the_dashboard_is_one_that_grafana_takes,
        },
        group! { monitoring:
            prometheus_sees_a_restart_and_fires_the_alert_of_a_slow_stop,
        },
        group! { docker:
            the_scratch_image_runs_without_root_and_capabilities_on_a_read_only_root,
            the_dockerfile_of_the_readme_works_with_the_command_below_it,
            docker_stop_leaves_0_within_the_gateways_own_time,
            a_request_under_way_is_answered_before_the_container_ends,
            docker_kill_usr1_brings_a_new_generation_with_the_memory_kept,
            gateway_restart_by_docker_exec_brings_a_new_generation_with_the_memory_kept,
            restarts_in_a_row_keep_the_container,
            processes_of_docker_exec_outlive_a_restart,
            a_child_deaf_to_sigterm_is_killed_at_the_grace_and_not_before,
            a_gateway_that_drains_for_longer_than_the_grace_is_killed_at_the_grace,
            gateway_stop_by_docker_exec_ends_the_container_and_on_failure_leaves_it_down,
            on_failure_brings_back_a_gateway_that_was_killed,
            on_failure_brings_back_a_child_that_crashed,
            orphans_leave_no_zombies,
            a_child_that_runs_out_of_memory_is_told_from_one_that_was_killed,
            leftovers_are_told_to_end_before_the_container_ends,
            the_token_is_in_no_log_and_no_process_list,
            the_port_is_free_right_after_docker_stop,
            the_memory_on_a_named_volume_outlives_the_container,
            the_termination_message_holds_the_report,
            the_verbs_of_docker_exec_tell_how_it_went_and_docker_cp_has_the_report,
            usage_errors_and_missing_commands_have_their_codes,
        },
        group! { security:
            everything_works_without_a_capability_under_the_default_seccomp_profile,
            another_user_of_docker_exec_cannot_stop_or_read_it,
        },
        group! { init_path:
            docker_takes_clawinit_for_an_init_of_the_right_kind,
            exit_codes_come_through_in_alpine_like_and_debian_images,
            signals_end_the_program_as_they_would_without_an_init,
            orphans_leave_no_zombies,
            a_gateway_under_clawinit_runs_below_it_unchanged,
        },
        group! { podman:
            podman_stop_leaves_0_within_the_gateways_own_time,
            a_restart_keeps_the_container_and_the_memory,
            in_a_user_namespace_it_stops_and_restarts_as_anywhere,
            clawinit_as_init_path_is_as_transparent_as_catatonit,
            a_kubernetes_pod_runs_and_stops_in_order,
        },
        group! { compose:
            the_file_starts_a_healthy_gateway_with_its_limits_on_its_port,
            the_file_brings_back_a_gateway_that_crashed,
            a_restart_refuses_no_client,
            gateway_stop_from_inside_leaves_the_service_down,
            compose_down_is_graceful,
            the_token_can_come_from_a_secret,
        },
        group! { blue_green:
            ten_switches_under_load_lose_no_request,
            the_other_compose_switches_as_well,
            a_colour_that_does_not_come_up_leaves_the_traffic_where_it_was,
            a_switch_to_a_colour_that_nginx_loses_moves_the_traffic_back,
            a_switch_to_the_live_colour_is_refused,
            each_colour_keeps_its_image,
            a_colour_that_crashes_over_and_over_is_replaced_and_stopped,
            a_switch_says_what_is_missing,
            the_two_colours_differ_in_their_names_alone,
        },
        group! { deploy:
            a_deployment_replaces_the_gateway_and_keeps_its_memory,
            the_step_that_stops_waits_until_it_has_stopped,
            a_new_image_that_does_not_come_up_is_rolled_back,
            an_image_that_does_not_work_is_no_way_back,
            a_step_that_cannot_ask_says_so_and_changes_nothing,
            an_image_that_cannot_be_pulled_changes_nothing,
            a_first_deployment_that_fails_leaves_nothing_running,
            a_release_has_binaries_for_both_targets_with_checksums_and_an_image_for_each,
            a_release_of_the_wrong_binaries_or_version_is_refused,
            a_release_is_published_with_all_that_was_packed,
            signing_in_says_what_is_missing_and_shows_no_password,
            the_workflows_run_these_scripts_and_nothing_else,
        },
        group! { manifests:
            every_manifest_is_what_the_schemas_allow,
            the_token_is_in_the_secret_and_nowhere_else,
            every_selector_takes_the_gateways_pods_and_no_others,
            a_new_token_or_setting_rolls_the_pods,
            both_kinds_of_gateways_have_the_same_pod_but_for_the_data,
            the_rendered_pods_have_what_the_documents_promise,
        },
        group! { kubernetes:
            deleting_the_pod_loses_no_request,
            usr1_by_exec_restarts_inside_and_no_count_rises,
            a_stop_from_inside_comes_back_under_restart_policy_always,
            with_one_process_namespace_for_the_pod_the_verbs_work_as_well,
            what_a_restart_costs_is_measured_by_a_command,
        },
        group! { systemd:
            systemd_finds_no_fault_and_the_exposure_that_the_documentation_names,
            systemctl_stop_ends_everything_in_the_gateways_own_time,
            systemctl_kill_usr1_restarts_in_place_with_the_memory_kept,
            systemctl_reload_returns_when_the_next_generation_is_ready,
            a_crash_of_the_gateway_is_made_good_in_place_and_one_of_clawinit_by_systemd,
            a_crash_without_clawinit_is_made_good_by_systemd,
            the_restart_code_brings_the_gateway_back_whatever_restart_says,
            codes_that_no_start_mends_bring_nothing_back,
            gateway_stop_on_the_host_leaves_the_unit_down,
            nothing_outlives_a_stop_and_kill_mode_process_would_let_it,
            a_gateway_that_does_not_leave_is_killed_by_clawinit_before_systemd_would,
            lines_in_the_journal_have_their_levels,
            the_quadlet_runs_restarts_and_stops_the_container,
        },
        group! { troubleshooting:
            what_the_page_shows_is_what_the_demonstration_prints,
        },
    ];
    // Nobody else has the packages: `make test-openclaw` brings them.
    if openclaw::wanted() {
        groups.push(group! { openclaw:
            it_lives_restarts_and_stops_under_clawinit,
            the_images_own_command_runs_restarts_and_stops,
            below_another_init_it_is_the_same,
            a_boot_after_sigkill_starts_with_another_pid,
        });
    }
    groups
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if !arguments.list && std::env::var_os(engine::PREFIX).is_none() {
        return with_engines();
    }
    // Whoever lists tests wants all of them, and no engine.
    let required = std::env::var_os("CLAWINIT_REQUIRE_ENGINES").is_some_and(|value| value == "1");
    let mut trials = Vec::new();
    for group in groups() {
        let absent = if arguments.list { None } else { (group.absent)() };
        if let Some(why) = &absent {
            println!("{}: {why}; its {} tests do not run", group.name, group.tests.len());
        }
        for (name, test) in group.tests {
            let why = absent.clone();
            let trial = Trial::test(format!("{}::{name}", group.name), move || match why {
                Some(why) => Err(Failed::from(why)),
                None => {
                    test();
                    Ok(())
                }
            });
            trials.push(trial.with_ignored_flag(absent.is_some() && !required));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// This program again, with the engines running.
fn with_engines() -> ExitCode {
    let (clawinit, gateway) = (engine::clawinit(), engine::gateway());
    for binary in [&clawinit, &gateway] {
        if !binary.is_file() {
            eprintln!("engines: {} is missing; make build makes it", binary.display());
            return ExitCode::FAILURE;
        }
    }
    let error = Command::new(engine::package().join("scripts/engines"))
        .arg("with")
        .arg(std::env::current_exe().expect("the path of the test binary"))
        .args(std::env::args_os().skip(1))
        .env("CLAWINIT_BIN", clawinit)
        .env("CLAWINIT_GATEWAY", gateway)
        .exec();
    eprintln!("engines: scripts/engines cannot be started: {error}");
    ExitCode::FAILURE
}
