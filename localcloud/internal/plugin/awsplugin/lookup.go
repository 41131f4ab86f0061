package awsplugin

import (
	"errors"
	"fmt"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// found returns the resource with the id that the engine knows, or errGone.
func found[T any](collection map[string]*T, id string) (*T, error) {
	r, ok := collection[id]
	if !ok {
		return nil, errGone
	}
	return r, nil
}

// The following return what an input refers to, or AWS's error.

func (op *operation) vpc(id string) (*store.Vpc, error) {
	if v, ok := op.Vpcs[id]; ok {
		return v, nil
	}
	return nil, apiError("InvalidVpcID.NotFound", "The vpc ID '%s' does not exist", id)
}

func (op *operation) subnet(id string) (*store.Subnet, error) {
	if s, ok := op.Subnets[id]; ok {
		return s, nil
	}
	return nil, apiError("InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist", id)
}

func (op *operation) routeTable(id string) (*store.RouteTable, error) {
	if t, ok := op.RouteTables[id]; ok {
		return t, nil
	}
	return nil, apiError("InvalidRouteTableID.NotFound", "The routeTable ID '%s' does not exist", id)
}

func (op *operation) securityGroup(id string) (*store.SecurityGroup, error) {
	if g, ok := op.SecurityGroups[id]; ok {
		return g, nil
	}
	return nil, apiError("InvalidGroup.NotFound", "The security group '%s' does not exist", id)
}

func (op *operation) role(name string) (*store.RoleRecord, error) {
	if r, ok := op.Roles[name]; ok {
		return r, nil
	}
	return nil, apiError("NoSuchEntity", "The role with name %s cannot be found.", name)
}

func (op *operation) bucket(name string) (*store.BucketRecord, error) {
	if b, ok := op.Buckets[name]; ok {
		return b, nil
	}
	return nil, apiError("NoSuchBucket", "The specified bucket does not exist: %s", name)
}

func ignoreNotFound(err error) error {
	if errors.Is(err, cloud.ErrNotFound) {
		return nil
	}
	return err
}

// joinCleanUp adds what went wrong while cleaning up after err.
func joinCleanUp(err, cleanUp error) error {
	if cleanUp = ignoreNotFound(cleanUp); cleanUp != nil {
		return errors.Join(err, fmt.Errorf("clean up: %w", cleanUp))
	}
	return err
}
