import { describe, expect, it } from 'vitest';
import { CronProblem, plainCronFields } from './cron-fields.ts';

describe('plainCronFields', () => {
  it.each([
    ['* * * * *', '* * * * *'],
    ['? ? ? ? ?', '* * * * *'],
    ['0 */12 * * *', '0 0,12 * * *'],
    ['5/20 22/1 30/1 11/1 5/1', '5,25,45 22,23 30,31 11,12 5,6'],
    ['10-20/5 1-3 1-3/2 jan-MAR Mon-wed', '10,15,20 1,2,3 1,3 1,2,3 1,2,3'],
    ['30,5,5,10-12 0 1 1 0', '5,10,11,12,30 0 1 1 0'],
    ['0 0 * * 7', '0 0 * * 0'],
    ['0 0 * * 5-7', '0 0 * * 0,5,6'],
    ['0 0 * * 7/1', '0 0 * * 0'],
    ['0 0 * * */3', '0 0 * * 0,3,6'],
    ['*/60 */24 */31 */12 */7', '0 0 1 1 0'],
    ['*/1 5,* * * *', '* * * * *'],
    ['0 0 29 feb *', '0 0 29 2 *'],
    ['0 0 31 2,3 *', '0 0 31 2,3 *'],
    ['0 0 31 2 mon', '0 0 31 2 1'],
    ['0\t0  1 1\n*', '0 0 1 1 *'],
  ])('writes %j out as %s', (text, plain) => {
    expect(plainCronFields(text)).toBe(plain);
  });

  it.each([
    ['0 0 1 1', 'five fields are needed, and it has 4'],
    ['0 0 1 1 * 2025', 'five fields are needed, and it has 6'],
    ['60 * * * *', 'the minute "60" is out of range: 0 to 59'],
    ['* 24 * * *', 'the hour "24" is out of range: 0 to 23'],
    ['0 0 0 * *', 'the day of the month "0" is out of range: 1 to 31'],
    ['0 0 * 13 *', 'the month "13" is out of range: 1 to 12'],
    ['0 0 * * 8', 'the day of the week "8" is out of range: 0 to 7'],
    ['0 5-1 * * *', 'the hour "5-1" ends before it begins'],
    ['0 0 * * sat-sun', 'the day of the week "sat-sun" ends before it begins'],
    ['*/0 * * * *', 'the minute "*/0" has steps of zero'],
    ['*/90 * * * *', 'the minute "*/90" has steps of 90, and there are only 60'],
    ['0 0 * * */8', 'the day of the week "*/8" has steps of 8, and there are only 7'],
    ['1,,2 * * * *', 'the minute "" is not understood'],
    ['-5 * * * *', 'the minute "-5" is not understood'],
    ['1.5 * * * *', 'the minute "1.5" is not understood'],
    ['*-5 * * * *', 'the minute "*-5" is not understood'],
    ['*/x * * * *', 'the minute "*/x" is not understood'],
    ['jan * * * *', 'the minute "jan" is not understood'],
    ['0 0 * janx *', 'the month "janx" is not understood'],
    ['H H * * *', 'the minute "H" is not understood'],
    ['0 0 L * *', 'the day of the month "L" is not understood'],
    ['0 0 15W * *', 'the day of the month "15W" is not understood'],
    ['0 0 * * mon#1', 'the day of the week "mon#1" is not understood'],
    ['0 0 31 2 *', 'no month that it allows has such a day: it never comes true'],
    ['0 0 30,31 feb *', 'no month that it allows has such a day: it never comes true'],
    ['0 0 31 4,6,9,11 ?', 'no month that it allows has such a day: it never comes true'],
  ])('refuses %j: %s', (text, why) => {
    expect(() => plainCronFields(text)).toThrowError(new CronProblem(why));
  });
});
