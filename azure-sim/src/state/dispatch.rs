//! From a request to the resource it means: who asks, may they, does it exist.

use serde_json::{Value, json};

use super::error::ArmError;
use super::http::{ArmRequest, ArmResponse, Target};
use super::identity::{Identity, authenticate};
use super::journal::Call;
use super::linked::links;
use super::route::{InGroup, InSubscription, Route};
use super::sites::{Site, Within};
use super::standing::Attempt;
use super::throttle::{Entrant, Kind};
use super::world::World;
use super::write::Write;

/// A request whose sender is known.
pub(crate) struct Asked<'a> {
    pub(crate) request: &'a ArmRequest,
    pub(crate) target: &'a Target,
    pub(crate) base: String,
    pub(crate) api_version: String,
    identity: Identity,
}

impl Asked<'_> {
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    fn is(&self, method: &str) -> bool {
        self.request.method == method
    }

    fn write(&self) -> Write<'_> {
        Write {
            body: self.request.body.as_ref(),
            if_match: self.request.header("if-match"),
            principal: Some(self.identity.principal.clone()),
            node: Some(&self.identity.node),
            base: self.base.clone(),
            api_version: self.api_version.clone(),
            takes: None,
        }
    }

    /// 403 unless the identity may do this.
    fn check_right(&self, action: &'static str) -> Result<(), ArmError> {
        let rights = self.identity.rights;
        let may = if action.ends_with("/read") { rights.read } else { rights.write };
        let scope = self.target.scope();
        if may && self.identity.has_role_for(action, &scope) {
            return Ok(());
        }
        let Identity { client_id, object_id, .. } = &self.identity;
        Err(ArmError::no_rights(client_id, object_id, action, &scope))
    }

    /// 403 unless a role of the identity allows this; an identity without roles may.
    pub(crate) fn check_role(&self, action: &'static str) -> Result<(), ArmError> {
        if self.identity.roles.is_some() { self.check_right(action) } else { Ok(()) }
    }

    /// 403 unless the identity may join what the NIC in the body refers to.
    fn check_join(&self, nic_id: &str) -> Result<(), ArmError> {
        let Identity { client_id, object_id, rights, .. } = &self.identity;
        let Some(body) = &self.request.body else { return Ok(()) };
        let allowed = |(action, linked)| self.identity.has_role_for(action, linked);
        match links(body).into_iter().find(|link| !rights.join || !allowed(*link)) {
            None => Ok(()),
            Some(linked) => Err(ArmError::no_join(client_id, object_id, nic_id, linked)),
        }
    }

    fn method_not_allowed(&self) -> ArmError {
        let message = format!("The method {} is not allowed here.", self.request.method);
        ArmError::front_door(405, "MethodNotAllowed", message)
    }
}

impl World {
    pub(crate) fn dispatch(
        &mut self,
        request: &ArmRequest,
        call: &mut Call,
    ) -> Result<ArmResponse, ArmError> {
        let target = Target::parse(&request.path_and_query);
        let route = Route::parse(&target);
        let base = self.base(request);
        if let Some(answer) = self.open(request, &route, &base) {
            return Ok(answer);
        }
        let authorization = request.header("authorization");
        let tenant = &self.config.tenant;
        let identity =
            authenticate(&self.identities, authorization, tenant, self.unix_ms())?.clone();
        call.principal = Some(identity.principal.clone());
        let Some(api_version) = target.parameter("api-version").filter(|v| !v.is_empty()) else {
            return Err(ArmError::front_door(
                400,
                "MissingApiVersionParameter",
                "The api-version query parameter (?api-version=) is required for all requests.",
            ));
        };
        let api_version = api_version.to_owned();
        let asked = Asked { request, target: &target, base, api_version, identity };
        let entrant = Entrant {
            kind: Kind::of(&request.method),
            actor: &asked.identity.object_id,
            subscription: route.subscription().unwrap_or(&self.config.subscription),
            to_network: route.is_network(),
        };
        let left = self.throttle.admit(self.now, &self.settings.throttling, entrant)?;
        let result = self.answer(&asked, route, call);
        match (result, left) {
            (result, None) => result,
            (Ok(answer), Some((name, left))) => Ok(answer.with_header(name, left)),
            (Err(error), Some((name, left))) => Err(error.with_header(name, left)),
        }
    }

    fn answer(
        &mut self,
        asked: &Asked<'_>,
        route: Route,
        call: &mut Call,
    ) -> Result<ArmResponse, ArmError> {
        match route {
            Route::Subscriptions if asked.is("GET") => {
                let all = self.config.subscriptions();
                let all = all.iter().enumerate().map(|(i, id)| self.subscription(i, id));
                Ok(self.list(asked, all))
            }
            Route::Subscription { subscription, within } => {
                let all = self.config.subscriptions();
                let known = all.iter().position(|id| id.eq_ignore_ascii_case(&subscription));
                let Some(known) = known else {
                    return Err(ArmError::front_door(
                        404,
                        "SubscriptionNotFound",
                        format!("The subscription '{subscription}' could not be found."),
                    ));
                };
                if within == InSubscription::Itself && asked.is("GET") {
                    return Ok(ArmResponse::new(200, self.subscription(known, &all[known])));
                }
                self.in_subscription(asked, &subscription, within, call)
            }
            Route::Subscriptions => Err(asked.method_not_allowed()),
            // Those before Unknown were answered without a token.
            Route::Endpoints | Route::OpenId { .. } | Route::Token { .. } | Route::Unknown => {
                Err(no_such_type(asked.request))
            }
        }
    }

    fn in_subscription(
        &mut self,
        asked: &Asked<'_>,
        subscription: &str,
        within: InSubscription,
        call: &mut Call,
    ) -> Result<ArmResponse, ArmError> {
        match within {
            InSubscription::Unknown => Err(no_such_type(asked.request)),
            InSubscription::Group { group, within } => {
                let site = Site { subscription: subscription.to_owned(), group };
                let mut sites = self.config.sites().into_iter();
                let Some(site) = sites.find(|known| *known == site) else {
                    let message = format!("Resource group '{}' could not be found.", site.group);
                    return Err(ArmError::front_door(404, "ResourceGroupNotFound", message));
                };
                let within = within.with_nic(|name| self.config.nic_reference(&site, name));
                self.in_group(asked, &site, within, call)
            }
            InSubscription::Itself => Err(asked.method_not_allowed()),
            InSubscription::Authorization { scope, collection } if asked.is("GET") => {
                self.authorization(asked, &scope, collection)
            }
            _ if !asked.is("GET") => Err(asked.method_not_allowed()),
            InSubscription::Groups => {
                asked.check_right("Microsoft.Resources/subscriptions/resourceGroups/read")?;
                let sites = self.config.sites();
                let here = Within::Subscription(subscription);
                let here = sites.iter().filter(|site| here.has(site));
                Ok(self.list(asked, here.map(|site| self.group(site))))
            }
            InSubscription::Nics => {
                asked.check_right("Microsoft.Network/networkInterfaces/read")?;
                Ok(self.list_nics(asked, Within::Subscription(subscription)))
            }
            InSubscription::Networks => {
                asked.check_right("Microsoft.Network/virtualNetworks/read")?;
                Ok(self.list_networks(asked, Within::Subscription(subscription)))
            }
            InSubscription::Vms => {
                asked.check_right("Microsoft.Compute/virtualMachines/read")?;
                Ok(self.list_vms(asked, Within::Subscription(subscription)))
            }
            InSubscription::Authorization { .. } => Err(asked.method_not_allowed()),
            InSubscription::Usages => {
                asked.check_role("Microsoft.Network/locations/usages/read")?;
                Ok(self.list(asked, std::iter::once(self.usage())))
            }
            InSubscription::Operation { guid } => {
                self.check_poll(asked)?;
                self.poll(&guid)
            }
            InSubscription::OperationResult { guid } => {
                self.check_poll(asked)?;
                self.poll_result(&guid)
            }
        }
    }

    fn in_group(
        &mut self,
        asked: &Asked<'_>,
        site: &Site,
        within: InGroup,
        call: &mut Call,
    ) -> Result<ArmResponse, ArmError> {
        match within {
            InGroup::Nic(name) if !asked.is("GET") => self.change_nic(asked, &name, call),
            InGroup::NicTags(nic) if !asked.is("GET") => self.change_tags(asked, &nic),
            InGroup::Unknown => Err(no_such_type(asked.request)),
            _ if !asked.is("GET") => Err(asked.method_not_allowed()),
            InGroup::Itself => {
                asked.check_role("Microsoft.Resources/subscriptions/resourceGroups/read")?;
                Ok(ArmResponse::new(200, self.group(site)))
            }
            InGroup::Nics => {
                asked.check_right("Microsoft.Network/networkInterfaces/read")?;
                Ok(self.list_nics(asked, Within::Group(site)))
            }
            InGroup::Nic(name) => {
                asked.check_right("Microsoft.Network/networkInterfaces/read")?;
                self.get_nic(&name, &asked.api_version)
            }
            InGroup::NicTags(nic) => {
                asked.check_right("Microsoft.Resources/tags/read")?;
                self.get_tags(&nic)
            }
            InGroup::IpConfigs(nic) => {
                asked.check_right("Microsoft.Network/networkInterfaces/ipconfigurations/read")?;
                self.list_ip_configs(asked, &nic)
            }
            InGroup::IpConfig(nic, name) => {
                asked.check_right("Microsoft.Network/networkInterfaces/ipconfigurations/read")?;
                self.get_ip_config(&nic, &name)
            }
            InGroup::Networks => {
                asked.check_right("Microsoft.Network/virtualNetworks/read")?;
                Ok(self.list_networks(asked, Within::Group(site)))
            }
            InGroup::Network(name) => {
                asked.check_right("Microsoft.Network/virtualNetworks/read")?;
                self.get_network(site, &name)
            }
            InGroup::Subnet(network, name) => {
                asked.check_right("Microsoft.Network/virtualNetworks/subnets/read")?;
                self.get_subnet(site, &network, &name)
            }
            InGroup::CheckAddress(network) => {
                asked.check_right(
                    "Microsoft.Network/virtualNetworks/checkIpAddressAvailability/read",
                )?;
                let address = asked.target.parameter("ipaddress");
                self.check_address(site, &network, address, &asked.api_version)
            }
            InGroup::LoadBalancer(name) => {
                asked.check_right("Microsoft.Network/loadBalancers/read")?;
                self.get_load_balancer(site, &name)
            }
            InGroup::Vms => {
                asked.check_right("Microsoft.Compute/virtualMachines/read")?;
                Ok(self.list_vms(asked, Within::Group(site)))
            }
            InGroup::Vm(name) => {
                asked.check_right("Microsoft.Compute/virtualMachines/read")?;
                let expand = asked.target.parameter("$expand");
                let with_view = expand.is_some_and(|e| e.eq_ignore_ascii_case("instanceView"));
                self.get_vm(site, &name, with_view)
            }
        }
    }

    /// `[I]` without a right of its own in most people's roles, `[R]` refused in some.
    fn check_poll(&self, asked: &Asked<'_>) -> Result<(), ArmError> {
        if !self.settings.polling_needs_right {
            return Ok(());
        }
        asked.check_right("Microsoft.Network/locations/operations/read")
    }

    /// Ids of a NIC and of its resource group.
    fn scopes(&self, reference: &str) -> (String, String) {
        let nic_id = self.config.nic_id(reference);
        let group_id = Site::of(&nic_id).unwrap_or_else(|| self.config.home()).id();
        (nic_id, group_id)
    }

    fn change_tags(&mut self, asked: &Asked<'_>, nic: &str) -> Result<ArmResponse, ArmError> {
        if !["PUT", "PATCH", "DELETE"].iter().any(|method| asked.is(method)) {
            return Err(asked.method_not_allowed());
        }
        asked.check_right("Microsoft.Resources/tags/write")?;
        let (nic_id, group_id) = self.scopes(nic);
        let attempt = Attempt { deletes: false, nic, nic_id: &nic_id, group_id: &group_id };
        self.standing.check(attempt)?;
        self.write_tags(nic, &asked.request.method, &asked.write())
    }

    fn change_nic(
        &mut self,
        asked: &Asked<'_>,
        name: &str,
        call: &mut Call,
    ) -> Result<ArmResponse, ArmError> {
        let (nic_id, group_id) = self.scopes(name);
        let attempt = Attempt {
            deletes: asked.is("DELETE"),
            nic: name,
            nic_id: &nic_id,
            group_id: &group_id,
        };
        match asked.request.method.as_str() {
            "PUT" => {
                asked.check_right("Microsoft.Network/networkInterfaces/write")?;
                asked.check_join(attempt.nic_id)?;
                self.standing.check(attempt)?;
                self.put_nic(name, &asked.write(), call)
            }
            "PATCH" => {
                asked.check_right("Microsoft.Network/networkInterfaces/write")?;
                self.standing.check(attempt)?;
                self.find_nic(name)?;
                self.patch_nic(&name.to_ascii_lowercase(), &asked.write())
            }
            "DELETE" => {
                asked.check_right("Microsoft.Network/networkInterfaces/delete")?;
                self.standing.check(attempt)?;
                self.delete_nic(name, &asked.write(), call)
            }
            _ => Err(asked.method_not_allowed()),
        }
    }

    /// Scheme and host of URLs in answers.
    fn base(&self, request: &ArmRequest) -> String {
        match (&self.config.endpoint, request.header("host")) {
            (Some(endpoint), _) => endpoint.trim_end_matches('/').to_owned(),
            (None, Some(host)) if request.tls => format!("https://{host}"),
            (None, Some(host)) => format!("http://{host}"),
            (None, None) => "https://management.azure.com".to_owned(),
        }
    }

    /// What `az cloud register` reads; one object with `authentication` and `suffixes`. `[W]`
    pub(crate) fn endpoints(&self, base: &str) -> Value {
        json!({
            "name": "AzureSim",
            "portal": base,
            "authentication": {
                "loginEndpoint": base,
                "audiences": ["https://management.core.windows.net/", "https://management.azure.com/"],
                "tenant": self.config.tenant,
                "identityProvider": "AAD",
            },
            "resourceManager": base,
            "suffixes": {},
        })
    }

    /// The n-th subscription.
    fn subscription(&self, n: usize, id: &str) -> Value {
        let name = if n == 0 { "azure-sim".to_owned() } else { format!("azure-sim {}", n + 1) };
        json!({
            "id": format!("/subscriptions/{id}"),
            "subscriptionId": id,
            "tenantId": self.config.tenant,
            "displayName": name,
            "state": "Enabled",
            "authorizationSource": "RoleBased",
        })
    }

    fn group(&self, site: &Site) -> Value {
        json!({
            "id": site.id(),
            "name": site.group,
            "type": "Microsoft.Resources/resourceGroups",
            "location": self.config.location,
            "properties": {"provisioningState": "Succeeded"},
        })
    }
}

fn no_such_type(request: &ArmRequest) -> ArmError {
    let path = request.path_and_query.split('?').next().unwrap_or_default();
    ArmError::front_door(
        404,
        "InvalidResourceType",
        format!("The simulator knows no resource type at '{path}'."),
    )
}
