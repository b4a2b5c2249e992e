//! What is wrong with the probes and hooks of a container.
use k8s_openapi::api::core::v1::{
    Container, ExecAction, HTTPGetAction, LifecycleHandler, PodSpec, Probe, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::api::{FieldErrors, FieldPath, names};
use crate::apis::checks::{
    forbidden, form, invalid, not_negative, one_of, port as number, required,
};

/// Why nothing can be executed in a container.
const NO_COMMANDS: &str = "a WebAssembly sandbox has no other programs to execute; use httpGet, tcpSocket or grpc for a probe, httpGet or sleep for a hook";

/// Checks the probes and hooks of a container.
pub fn of_container(errors: &mut FieldErrors, path: &FieldPath, container: &Container) {
    if let Some(lifecycle) = &container.lifecycle {
        let path = path.child("lifecycle");
        for (field, hook) in
            [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)]
        {
            if let Some(hook) = hook {
                validate_hook(errors, &path.child(field), hook);
            }
        }
    }
    let probes = [
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
    ];
    for (field, probe) in probes {
        let Some(probe) = probe else { continue };
        let path = path.child(field);
        validate_probe(errors, &path, probe);
        let is_readiness = field == "readinessProbe";
        if let Some(threshold) = probe.success_threshold.filter(|_| !is_readiness) {
            errors.check(threshold == 1, || {
                invalid(&path.child("successThreshold"), threshold, "must be 1")
            });
        }
        if let Some(seconds) = probe.termination_grace_period_seconds {
            let path = path.child("terminationGracePeriodSeconds");
            if is_readiness {
                let why = "must not be set for readinessProbes";
                errors.push(invalid(&path, seconds, why));
            } else {
                errors.check(seconds > 0, || invalid(&path, seconds, "must be greater than 0"));
            }
        }
    }
}

/// Checks that no hook sleeps for longer than the Pod has to end; `path` is the spec's.
///
/// Not asked of Pods that are there: those of older versions must still be let go.
pub fn sleeps(errors: &mut FieldErrors, path: &FieldPath, spec: &PodSpec) {
    let Some(grace) = spec.termination_grace_period_seconds else { return };
    // A negative one counts as this, as the warning about it says.
    let grace = if grace < 0 { 1 } else { grace };
    let init = spec.init_containers.as_deref().unwrap_or_default();
    for (list, containers) in [("initContainers", init), ("containers", &spec.containers)] {
        for (i, container) in containers.iter().enumerate() {
            let Some(lifecycle) = &container.lifecycle else { continue };
            let path = path.child(list).index(i).child("lifecycle");
            for (field, hook) in
                [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)]
            {
                let Some(sleep) = hook.as_ref().and_then(|hook| hook.sleep.as_ref()) else {
                    continue;
                };
                errors.check((0..=grace).contains(&sleep.seconds), || {
                    let why = format!(
                        "must be non-negative and less than terminationGracePeriodSeconds ({grace})"
                    );
                    invalid(&path.child(field).child("sleep"), sleep.seconds, why)
                });
            }
        }
    }
}

fn validate_probe(errors: &mut FieldErrors, path: &FieldPath, probe: &Probe) {
    let mut handlers = Handlers { errors, path, count: 0 };
    handlers.exec(probe.exec.as_ref());
    handlers.http_get(probe.http_get.as_ref());
    handlers.tcp_socket(probe.tcp_socket.as_ref());
    if let Some(grpc) = &probe.grpc
        && let Some(path) = handlers.next("grpc")
    {
        number(handlers.errors, &path.child("port"), grpc.port);
    }
    handlers.finish();
    for (field, amount) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        not_negative(errors, &path.child(field), amount.map(i64::from));
    }
}

fn validate_hook(errors: &mut FieldErrors, path: &FieldPath, hook: &LifecycleHandler) {
    let mut handlers = Handlers { errors, path, count: 0 };
    handlers.exec(hook.exec.as_ref());
    handlers.http_get(hook.http_get.as_ref());
    handlers.tcp_socket(hook.tcp_socket.as_ref());
    if hook.sleep.is_some() {
        handlers.next("sleep");
    }
    handlers.finish();
}

/// Checks that there is exactly one handler, and that one.
struct Handlers<'a> {
    errors: &'a mut FieldErrors,
    path: &'a FieldPath,
    count: usize,
}

impl Handlers<'_> {
    /// The path of a handler that is set, unless it is one too many.
    fn next(&mut self, field: &str) -> Option<FieldPath> {
        self.count += 1;
        let path = self.path.child(field);
        if self.count > 1 {
            self.errors.push(forbidden(&path, "may not specify more than 1 handler type"));
            return None;
        }
        Some(path)
    }

    fn finish(self) {
        if self.count == 0 {
            self.errors.push(required(self.path, "must specify a handler type"));
        }
    }

    fn exec(&mut self, action: Option<&ExecAction>) {
        let Some(action) = action else { return };
        let Some(path) = self.next("exec") else { return };
        let empty = action.command.as_ref().is_none_or(Vec::is_empty);
        self.errors.check(!empty, || required(&path.child("command"), ""));
        self.errors.push(forbidden(&path, NO_COMMANDS));
    }

    fn http_get(&mut self, action: Option<&HTTPGetAction>) {
        let Some(action) = action else { return };
        let Some(path) = self.next("httpGet") else { return };
        let empty = action.path.as_ref().is_none_or(String::is_empty);
        self.errors.check(!empty, || required(&path.child("path"), ""));
        self.port(&path.child("port"), &action.port);
        let scheme = action.scheme.as_deref().unwrap_or_default();
        one_of(self.errors, &path.child("scheme"), scheme, &["HTTP", "HTTPS"]);
        for (i, header) in action.http_headers.iter().flatten().enumerate() {
            let path = path.child("httpHeaders").index(i).child("name");
            form(self.errors, &path, &header.name, names::http_header);
        }
    }

    fn tcp_socket(&mut self, action: Option<&TCPSocketAction>) {
        let Some(action) = action else { return };
        let Some(path) = self.next("tcpSocket") else { return };
        self.port(&path.child("port"), &action.port);
    }

    fn port(&mut self, path: &FieldPath, port: &IntOrString) {
        match port {
            IntOrString::Int(port) => number(self.errors, path, *port),
            IntOrString::String(name) => form(self.errors, path, name, names::port_name),
        }
    }
}
