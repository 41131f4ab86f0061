// Package store keeps the account of what exists in the local cloud: what
// AWS's control plane would know. It is one JSON file, so that it survives
// between commands and can be read by a person.
package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"immutable-infra/localcloud/internal/state"
)

// lockRetry is how often a waiting process tries the lock.
const lockRetry = 20 * time.Millisecond

// Store is the file that holds the State. It holds secrets: user data and the
// keys of roles.
type Store struct {
	path string
}

// Open returns the store in the given file, which need not exist yet.
func Open(path string) *Store {
	return &Store{path: path}
}

// Transaction is the exclusive use of the state by one operation.
type Transaction struct {
	*State
	store *Store
}

// Save writes the state before the end of the transaction, so that what an
// operation has begun is known even if its process is killed.
func (tx *Transaction) Save() error {
	if err := state.WriteJSON(tx.store.path, tx.State); err != nil {
		return fmt.Errorf("the store: %w", err)
	}
	return nil
}

// Update runs an operation alone, over all processes, and saves the state when
// it succeeds. When it fails, the state stays as it was last saved.
func (s *Store) Update(ctx context.Context, operation func(tx *Transaction) error) (err error) {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return fmt.Errorf("make the store's directory: %w", err)
	}
	// A lock of its own for each transaction also keeps the goroutines of one process apart.
	lock := flock.New(s.path + ".lock")
	if _, err := lock.TryLockContext(ctx, lockRetry); err != nil {
		return fmt.Errorf("lock the store %s: %w", s.path, err)
	}
	defer func() {
		if closeErr := lock.Close(); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("unlock the store %s: %w", s.path, closeErr))
		}
	}()

	saved, err := s.Read()
	if err != nil {
		return err
	}
	tx := &Transaction{State: saved, store: s}
	if err := operation(tx); err != nil {
		return err
	}
	return tx.Save()
}

// Read returns the state as it was last saved, for who does not change it.
func (s *Store) Read() (*State, error) {
	saved := newState()
	if err := state.ReadJSON(s.path, saved); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the store: %w", err)
	}
	return saved, nil
}

// State is all that exists. Each collection is keyed by the resource's id, or
// by its name where AWS identifies it by name.
type State struct {
	Vpcs                   Table                `json:"vpcs"`
	Subnets                Table                `json:"subnets"`
	InternetGateways       Table                `json:"internetGateways"`
	RouteTables            Table                `json:"routeTables"`
	RouteTableAssociations Table                `json:"routeTableAssociations"`
	VpcEndpoints           Table                `json:"vpcEndpoints"`
	SecurityGroups         Table                `json:"securityGroups"`
	SecurityGroupRules     Table                `json:"securityGroupRules"`
	Instances              map[string]*Instance `json:"instances"`
	Addresses              Table                `json:"addresses"`
	Roles                  map[string]*Role     `json:"roles"`
	Policies               Table                `json:"policies"`
	InstanceProfiles       Table                `json:"instanceProfiles"`
	OpenIDConnectProviders Table                `json:"openIdConnectProviders"`
	Buckets                map[string]*Bucket   `json:"buckets"`
	Records                Table                `json:"records"`

	// LastPublicAddress makes the next public address a new one, so that a
	// client that still talks to a released address reaches no other instance.
	LastPublicAddress int `json:"lastPublicAddress"`
}

// Table holds the resources of one type.
type Table map[string]Record

// Instance is an instance with what AWS knows of it and does not show.
type Instance struct {
	// Shown holds the SHA-1 of the user data, as the Terraform provider's state does.
	Shown Record `json:"instance"`
	// Pending is true until the instance runs. A pending instance that an
	// operation finds was left behind by a process that was killed.
	Pending      bool   `json:"pending,omitempty"`
	VpcID        string `json:"vpcId"`
	UserData     []byte `json:"userData,omitempty"`
	Architecture string `json:"architecture"`
	// AutoPublicIP is the auto-assigned public address, empty while there is none.
	AutoPublicIP string `json:"autoPublicIp,omitempty"`
}

// Role is a role with its inline policies and the account that stands for it
// at the S3 server.
type Role struct {
	Shown    Record `json:"role"`
	Policies Table  `json:"policies"` // by their names
	// Account is nil until an instance uses the role, or an operator asks for its credentials.
	Account *Account `json:"account,omitempty"`
}

// Account is a user of the S3 server.
type Account struct {
	AccessKeyID     string `json:"accessKeyId"`
	SecretAccessKey string `json:"secretAccessKey"`
}

// Bucket is a bucket with its settings, each nil until it is made.
type Bucket struct {
	Shown        Record `json:"bucket"`
	Versioning   Record `json:"versioning,omitempty"`
	Encryption   Record `json:"encryption,omitempty"`
	PublicAccess Record `json:"publicAccess,omitempty"`
	Ownership    Record `json:"ownership,omitempty"`
	Policy       Record `json:"policy,omitempty"` // as the program wrote it
	Lifecycle    Record `json:"lifecycle,omitempty"`
}

func newState() *State {
	s := &State{}
	for _, field := range reflect.ValueOf(s).Elem().Fields() {
		if field.Kind() == reflect.Map {
			field.Set(reflect.MakeMap(field.Type()))
		}
	}
	return s
}

// Table returns the records of a table by its field in State. With the field of an entry behind it,
// as in Buckets.Policy, they are that part of each entry, where there is one.
func (s *State) Table(name string) Table {
	entries, part := s.entries(name)
	if part == "" {
		return entries.Interface().(Table)
	}
	records := Table{}
	for id, entry := range entries.Seq2() {
		if r := entry.Elem().FieldByName(part).Interface().(Record); r != nil {
			records[id.String()] = r
		}
	}
	return records
}

// Put puts a record into a table, as Table names it.
func (s *State) Put(table, id string, r Record) {
	entries, part := s.entries(table)
	if part == "" {
		entries.SetMapIndex(reflect.ValueOf(id), reflect.ValueOf(r))
		return
	}
	entry := entries.MapIndex(reflect.ValueOf(id))
	if !entry.IsValid() {
		entry = reflect.New(entries.Type().Elem().Elem())
		entries.SetMapIndex(reflect.ValueOf(id), entry)
	}
	entry.Elem().FieldByName(part).Set(reflect.ValueOf(r))
}

// Drop takes a record out of a table. With what AWS shows, all that is known of an entry goes.
func (s *State) Drop(table, id string) {
	entries, part := s.entries(table)
	if part != "" && part != "Shown" {
		s.Put(table, id, nil)
		return
	}
	entries.SetMapIndex(reflect.ValueOf(id), reflect.Value{})
}

func (s *State) entries(table string) (entries reflect.Value, part string) {
	field, part, _ := strings.Cut(table, ".")
	return reflect.ValueOf(s).Elem().FieldByName(field), part
}
