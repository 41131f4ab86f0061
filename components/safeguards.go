//go:build !original

package components

// safeguards is the seam for the benchmark of replacements in e2e: with the build tag "original", the program replaces
// servers like the system that it is modeled on, which has no readiness checks, handover or probes, and provisions a
// server through the VIP.
const safeguards = true
