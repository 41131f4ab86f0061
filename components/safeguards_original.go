//go:build original

package components

const safeguards = false
