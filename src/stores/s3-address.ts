import type { S3Settings } from '../config/types.ts';

export interface S3Address {
  readonly url: URL;
  /** `host/bucket` instead of `bucket.host`. */
  readonly pathStyle: boolean;
}

/** Endpoints of Amazon that differ by region alone; the oldest one, without a region, means wherever the bucket is. */
const AMAZON = /^s3(?:[.-](?<region>[a-z]{2}(?:-[a-z]+)+-\d))?\.amazonaws\.com(?<china>\.cn)?$/;

/**
 * Where requests for a region go. A bucket that turns out to lie in another region is followed there by its endpoint at
 * Amazon; elsewhere the endpoint stays, and only the signature names the region. No answer of a server names a host.
 */
export function addressOf(settings: S3Settings, region: string): S3Address {
  const host = settings.endpoint.toLowerCase();
  const china = region.startsWith('cn-') ? '.cn' : '';
  const server = AMAZON.test(host) ? `s3.${region}.amazonaws.com${china}` : settings.endpoint;
  const url = new URL(`${settings.insecure ? 'http' : 'https'}://${server}`);
  return {
    url,
    pathStyle: settings.lookup === 'auto' ? !wantsVirtualHost(url.hostname) : settings.lookup === 'path',
  };
}

/** Whom requests are sent to, as DNS and certificates know it. */
export interface S3Host {
  /** An IPv6 address without brackets. */
  readonly host: string;
  readonly port: number;
  readonly secure: boolean;
}

export function hostOf(settings: S3Settings): S3Host {
  const { url, pathStyle } = addressOf(settings, settings.region);
  const secure = url.protocol === 'https:';
  const defaultPort = secure ? 443 : 80;
  return {
    host: pathStyle ? url.hostname.replace(/^\[|\]$/g, '') : `${settings.bucket}.${url.hostname}`,
    port: url.port === '' ? defaultPort : Number(url.port),
    secure,
  };
}

/** Amazon and Alibaba want `bucket.host`; everybody else understands `host/bucket`. */
function wantsVirtualHost(host: string): boolean {
  return /(^|\.)(amazonaws\.com(\.cn)?|aliyuncs\.com)$/.test(host);
}
