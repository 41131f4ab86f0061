//go:build !original

package components

// safeguards is the seam for the bench of replacements (e2e): with the build tag "original", the program replaces
// servers in the way of the system that it is modelled on. That one knows no readiness, handover or probe, and
// provisions a server through the VIP.
const safeguards = true
