//! The checks by name, and how bad it is what each finds. `docs/doctor.md` explains them; a test
//! holds the two together.

use vipfence_types::{Finding, Severity, VipName};

macro_rules! checks {
    ($($check:ident = $code:literal, $severity:ident;)*) => {
        /// Which mistake was found.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Check {
            $($check,)*
        }

        impl Check {
            /// All of them.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$check,)*];

            /// Its name in the API.
            pub(crate) fn code(self) -> &'static str {
                match self {
                    $(Self::$check => $code,)*
                }
            }

            /// How bad it is: always the same for the same check.
            pub(crate) fn severity(self) -> Severity {
                match self {
                    $(Self::$check => Severity::$severity,)*
                }
            }
        }
    };
}

checks! {
    ImdsUnreachable = "IMDS_UNREACHABLE", Error;
    ImdsError = "IMDS_ERROR", Error;
    NoIdentity = "NO_IDENTITY", Error;
    IdentityUnknown = "IDENTITY_UNKNOWN", Error;
    SeveralIdentities = "SEVERAL_IDENTITIES", Error;
    TokenMissing = "TOKEN_MISSING", Error;
    TokenRefused = "TOKEN_REFUSED", Error;
    ArmUnreachable = "ARM_UNREACHABLE", Error;
    ArmThrottled = "ARM_THROTTLED", Warning;
    SubscriptionNotFound = "SUBSCRIPTION_NOT_FOUND", Error;
    NicNotFound = "NIC_NOT_FOUND", Error;
    NicForbidden = "NIC_FORBIDDEN", Error;
    NicUnreadable = "NIC_UNREADABLE", Error;
    NicFailed = "NIC_FAILED", Error;
    NicBusy = "NIC_BUSY", Warning;
    NicWithoutVm = "NIC_WITHOUT_VM", Error;
    NicOfAnotherVm = "NIC_OF_ANOTHER_VM", Error;
    NicFull = "NIC_FULL", Error;
    NicTwice = "NIC_TWICE", Error;
    VmFull = "VM_FULL", Error;
    PrimaryDynamic = "PRIMARY_DYNAMIC", Warning;
    IpForwarding = "IP_FORWARDING", Warning;
    NetworkUnreadable = "NETWORK_UNREADABLE", Notice;
    SeveralNetworks = "SEVERAL_NETWORKS", Error;
    Locked = "LOCKED", Error;
    LocksUnreadable = "LOCKS_UNREADABLE", Notice;
    RightMissing = "RIGHT_MISSING", Error;
    RightsUnreadable = "RIGHTS_UNREADABLE", Notice;
    AddressOutside = "ADDRESS_OUTSIDE", Error;
    AddressReserved = "ADDRESS_RESERVED", Error;
    AddressIsPrimary = "ADDRESS_IS_PRIMARY", Error;
    AddressTaken = "ADDRESS_TAKEN", Error;
    NoStandby = "NO_STANDBY", Warning;
    FrontendMissing = "FRONTEND_MISSING", Error;
    FrontendUnreadable = "FRONTEND_UNREADABLE", Error;
    FrontendWithoutRule = "FRONTEND_WITHOUT_RULE", Error;
    FloatingIpOff = "FLOATING_IP_OFF", Error;
    ProbePortDiffers = "PROBE_PORT_DIFFERS", Error;
    NicNotInPool = "NIC_NOT_IN_POOL", Error;
    InterfaceMissing = "INTERFACE_MISSING", Error;
    CloudInit = "CLOUD_INIT", Error;
    CloudNetconfig = "CLOUD_NETCONFIG", Error;
    NmCloudSetup = "NM_CLOUD_SETUP", Error;
    RpFilterStrict = "RP_FILTER_STRICT", Warning;
    NonlocalBindOff = "NONLOCAL_BIND_OFF", Notice;
    ClockSlew = "CLOCK_SLEW", Warning;
    ClockOff = "CLOCK_OFF", Warning;
    ClocksDiffer = "CLOCKS_DIFFER", Warning;
    DataDirVolatile = "DATA_DIR_VOLATILE", Error;
    DataDirFull = "DATA_DIR_FULL", Error;
    DataDirUnusable = "DATA_DIR_UNUSABLE", Error;
    PeerTimeout = "PEER_TIMEOUT", Error;
    PeerRefused = "PEER_REFUSED", Error;
    PeerUnknown = "PEER_UNKNOWN", Error;
    NodeSilent = "NODE_SILENT", Error;
    PeersDiffer = "PEERS_DIFFER", Error;
    VersionsDiffer = "VERSIONS_DIFFER", Warning;
    FewVotes = "FEW_VOTES", Warning;
    Unreachable = "UNREACHABLE", Error;
}

impl Check {
    /// A finding of this check about something.
    pub(crate) fn finds(
        self,
        subject: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding {
            check: self.code().to_owned(),
            severity: self.severity(),
            vip: None,
            subject: subject.into(),
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    /// The same, for a VIP.
    pub(crate) fn finds_of(
        self,
        vip: &VipName,
        subject: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding { vip: Some(vip.clone()), ..self.finds(subject, message, remedy) }
    }
}
