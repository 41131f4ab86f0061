package handover

// state is the state of a server between its start and its replacement by a successor.
//
// The server drains while it is handingOver, handedOver, resuming, recovering or replaced: the proxy asks each
// visitor to reconnect.
//
//	[*] --> starting: not drained
//	[*] --> restarted: drained
//	starting --> standby: vipAbsent
//	starting --> active: vipPresent
//	standby --> active: vipPresent
//	active --> standby: vipAbsent
//	active --> handingOver: requested
//	handingOver --> handingOver: requested
//	handingOver --> handedOver: acknowledged
//	handingOver --> resuming: noRequest
//	handingOver --> replaced: vipAbsent
//	handedOver --> handingOver: requested
//	handedOver --> resuming: noRequest
//	handedOver --> replaced: vipAbsent
//	resuming --> active: resumed
//	resuming --> handingOver: requested
//	resuming --> replaced: vipAbsent
//	replaced --> recovering: vipPresent
//	restarted --> recovering: vipPresent
//	restarted --> replaced: vipAbsent
//	recovering --> handingOver: requested
//	recovering --> resuming: noRequest
//	recovering --> replaced: vipAbsent
//
// An event without a transition leaves the state unchanged.
type state string

const (
	// starting: the metadata service has not responded yet.
	starting state = "starting"
	// restarted: like starting, but an earlier process left the server drained.
	restarted state = "restarted"
	// standby: another server holds the VIP. The proxy requests no certificates.
	standby state = "standby"
	// active: this server holds the VIP.
	active state = "active"
	// handingOver: a request is in force. The server drains, uploads its last data and acknowledges;
	// each check repeats what failed.
	handingOver state = "handingOver"
	// handedOver: the request is acknowledged, and the VIP has yet to move.
	handedOver state = "handedOver"
	// resuming: the request ended and the VIP did not move. Each check tries to serve and collect again.
	resuming state = "resuming"
	// replaced: the VIP moved away from a drained server, which stays drained.
	replaced state = "replaced"
	// recovering: a drained server holds the VIP, and whether a request is in force is unknown.
	recovering state = "recovering"
)

// event is what the watcher observed, or what it finished.
type event string

const (
	// vipPresent and vipAbsent are the responses of the metadata service.
	vipPresent event = "vipPresent"
	vipAbsent  event = "vipAbsent"
	// requested: the bucket holds a request that is in force and not acknowledged.
	requested event = "requested"
	// noRequest: this process has read the bucket, and no request is in force.
	noRequest event = "noRequest"
	// acknowledged: the last data and the acknowledgment are in the bucket.
	acknowledged event = "acknowledged"
	// resumed: the server serves and collects again.
	resumed event = "resumed"
)

// transitions returns the transitions in the diagram of type state.
func transitions() map[state]map[event]state {
	return map[state]map[event]state{
		starting:    {vipAbsent: standby, vipPresent: active},
		restarted:   {vipAbsent: replaced, vipPresent: recovering},
		standby:     {vipPresent: active},
		active:      {vipAbsent: standby, requested: handingOver},
		handingOver: {vipAbsent: replaced, requested: handingOver, acknowledged: handedOver, noRequest: resuming},
		handedOver:  {vipAbsent: replaced, requested: handingOver, noRequest: resuming},
		resuming:    {vipAbsent: replaced, requested: handingOver, resumed: active},
		replaced:    {vipPresent: recovering},
		recovering:  {vipAbsent: replaced, requested: handingOver, noRequest: resuming},
	}
}
