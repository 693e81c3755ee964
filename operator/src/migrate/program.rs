//! Stash's own parts: its operator, its webhooks, and the APIs that it answers for.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, RuleWithOperations, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::ResourceExt;

use super::Look;

/// The end of the groups that are Stash's.
const GROUP: &str = "stash.appscode.com";

/// What its operator is called, by the editions that there were.
const OPERATORS: [&str; 4] = ["stash", "stash-community", "stash-enterprise", "stash-operator"];

pub(super) async fn look(look: &mut Look) -> Result<(), kube::Error> {
    for one in look.everywhere::<Deployment>().await? {
        operator(look, &one);
    }
    for one in look.everywhere::<MutatingWebhookConfiguration>().await? {
        let hooks = one.webhooks.iter().flatten();
        let mut hooks = hooks.filter(|hook| is_stashs(&hook.name, &hook.client_config, hook.rules.as_deref()));
        if let Some(hook) = hooks.next() {
            webhook(look, "MutatingWebhookConfiguration", &one.name_any(), hook.failure_policy.as_deref());
        }
    }
    for one in look.everywhere::<ValidatingWebhookConfiguration>().await? {
        let hooks = one.webhooks.iter().flatten();
        let mut hooks = hooks.filter(|hook| is_stashs(&hook.name, &hook.client_config, hook.rules.as_deref()));
        if let Some(hook) = hooks.next() {
            webhook(look, "ValidatingWebhookConfiguration", &one.name_any(), hook.failure_policy.as_deref());
        }
    }
    for one in look.everywhere::<APIService>().await? {
        let spec = one.spec.clone().unwrap_or_default();
        let group = spec.group.unwrap_or_default();
        // An API of a definition has no service.
        if let Some(service) = spec.service.filter(|_| group.ends_with(GROUP)) {
            let (namespace, name) = (service.namespace.unwrap_or_default(), service.name.unwrap_or_default());
            look.stops(
                format!("the APIService `{}` is answered by Stash's Service `{namespace}/{name}`: with that gone, no namespace can be deleted", one.name_any()),
                format!("uninstall Stash, or `kubectl delete apiservice {}`", one.name_any()),
            );
        }
    }
    Ok(())
}

fn operator(look: &mut Look, one: &Deployment) {
    let app = ["app.kubernetes.io/name", "app"].iter().find_map(|label| one.labels().get(*label));
    let is_named = app.is_some_and(|app| OPERATORS.contains(&app.as_str()));
    let pod = one.spec.template.spec.as_ref();
    let images = pod.iter().flat_map(|pod| &pod.containers).filter_map(|container| container.image.as_deref());
    let is_image = images.into_iter().any(|image| {
        let name = image.rsplit('/').next().unwrap_or_default();
        let name = name.split([':', '@']).next().unwrap_or_default();
        OPERATORS.contains(&name)
    });
    let runs = one.spec.replicas != Some(0);
    if (is_named || is_image) && runs {
        let (namespace, name) = (one.namespace().unwrap_or_default(), one.name_any());
        look.stops(
            format!("the Deployment `{namespace}/{name}` is Stash's operator, and runs: two operators would work on the same resources"),
            format!("before Aquifer's operator begins, uninstall it, or `kubectl scale -n {namespace} deployment/{name} --replicas=0`"),
        );
    }
}

fn is_stashs(name: &str, client: &WebhookClientConfig, rules: Option<&[RuleWithOperations]>) -> bool {
    let groups = rules.unwrap_or_default().iter().flat_map(|rule| rule.api_groups.iter().flatten());
    let is_service = client.service.as_ref().is_some_and(|to| to.name == "stash" || to.name.starts_with("stash-"));
    name.ends_with(GROUP) || is_service || groups.into_iter().any(|group| group.ends_with(GROUP))
}

fn webhook(look: &mut Look, kind: &str, name: &str, policy: Option<&str>) {
    let next = format!("uninstall Stash, or `kubectl delete {} {name}`", kind.to_ascii_lowercase());
    if policy == Some("Ignore") {
        look.note(
            format!("the {kind} `{name}` is Stash's: with Stash gone it slows down what it is asked about"),
            next,
        );
    } else {
        look.stops(
            format!("the {kind} `{name}` is Stash's: with Stash gone, what it is asked about can no longer be written"),
            next,
        );
    }
}
