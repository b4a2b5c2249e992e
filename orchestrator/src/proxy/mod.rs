//! Services, DNS names and the ingress gateway: pure rules out of API objects, fed to the data plane.
