import type { Program } from '../crds/etcd-snapshot-file.ts';

/** Where Kubernetes wants the events of objects that have no namespace. */
const CLUSTER_NAMESPACE = 'default';
const MAX_NAME = 253;
const MAX_MESSAGE = 1024;

/** Which object an event is about. */
export interface InvolvedObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  /** Left out for cluster-scoped objects. */
  readonly namespace?: string | undefined;
  /** `kubectl describe` finds events by it. */
  readonly uid?: string | undefined;
  readonly resourceVersion?: string | undefined;
}

export interface KubeEvent {
  readonly object: InvolvedObject;
  readonly type: 'Normal' | 'Warning';
  /** One word in UpperCamelCase. */
  readonly reason: string;
  /** What happened, and what to do; cut after 1024 characters. */
  readonly message: string;
}

export interface EventSource {
  readonly program: Program;
  /** The node. */
  readonly instance: string;
}

/** How often it happened, and when first and last. */
export interface EventSeries {
  readonly count: number;
  readonly first: Date;
  readonly last: Date;
}

export function eventsPath({ namespace }: InvolvedObject): string {
  return `/api/v1/namespaces/${encodeURIComponent(namespace ?? CLUSTER_NAMESPACE)}/events`;
}

/** A core/v1 Event. */
export function toEvent(event: KubeEvent, name: string, source: EventSource, series: EventSeries) {
  const { object, type, reason } = event;
  const component = `${source.program}-supervisor`;
  return {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { name, namespace: object.namespace ?? CLUSTER_NAMESPACE },
    involvedObject: object,
    type,
    reason,
    message: event.message.slice(0, MAX_MESSAGE),
    source: { component },
    reportingComponent: component,
    reportingInstance: source.instance,
    firstTimestamp: wholeSeconds(series.first),
    ...repeated(series),
  };
}

/** What changes in an Event when it happens again. */
export function repeated(series: EventSeries) {
  return { lastTimestamp: wholeSeconds(series.last), count: series.count };
}

/**
 * `<object>.<nanoseconds in hex>`, as Kubernetes' own recorders name events; long object names are cut.
 * @param serial tells events of one millisecond apart
 */
export function eventName(objectName: string, now: Date, serial = 0): string {
  const nanoseconds = BigInt(now.getTime()) * 1_000_000n + BigInt(serial % 1_000_000);
  const suffix = `.${nanoseconds.toString(16)}`;
  return objectName.slice(0, MAX_NAME - suffix.length).replace(/[^a-z0-9]+$/, '') + suffix;
}

function wholeSeconds(time: Date): string {
  return time.toISOString().replace(/\.\d{3}Z$/, 'Z');
}
